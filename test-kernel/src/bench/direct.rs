//! With pvir: as few calls as the batch allows, and the table written by the guest itself.

use super::{MAX, Method, Plan, destination};
use crate::harness::live_entries;
use crate::machine::pci::Function;
use crate::machine::pci::device_id;
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use pvir_guest::{
    BatchMode, Entry, EntryError, Irte, Live, MapRequest, MapResult, Masked, MsixEntry, MsixTable,
    NOT_MAPPED, Programmed, Target,
};
use spin::{Mutex, MutexGuard};

type Entries<S> = ArrayVec<Entry<MsixEntry<'static>, S>, MAX>;

/// Too large for the stack, and entries stay claimed all along.
struct EntryStorage {
    idle: Entries<Masked>,
    live: Entries<Live>,
    parked: Entries<Programmed>,
    requests: ArrayVec<MapRequest, MAX>,
    granted: ArrayVec<MapResult, MAX>,
    targets: ArrayVec<Target, MAX>,
    moved: ArrayVec<Result<(), EntryError>, MAX>,
    irtes: ArrayVec<Option<Irte>, MAX>,
}

static ENTRY_STORAGE: Mutex<EntryStorage> = Mutex::new(EntryStorage {
    idle: ArrayVec::new_const(),
    live: ArrayVec::new_const(),
    parked: ArrayVec::new_const(),
    requests: ArrayVec::new_const(),
    granted: ArrayVec::new_const(),
    targets: ArrayVec::new_const(),
    moved: ArrayVec::new_const(),
    irtes: ArrayVec::new_const(),
});

/// The first entries of a table, claimed.
pub(super) struct Direct<'a> {
    session: &'a Session,
    memory: MutexGuard<'static, EntryStorage>,
    batch: usize,
    entries: usize,
    calls: u64,
}

impl<'a> Direct<'a> {
    pub(super) fn open(session: &'a Session, function: &Function, plan: Plan) -> Result<Self, &'static str> {
        let id = device_id(function.address).ok_or("no address that pvir knows")?;
        let table: &'static MsixTable<'static, Kernel> =
            live_entries::table(0, id).map_err(|_| "the table cannot be opened")?;
        let wanted = u32::try_from(plan.vectors).unwrap_or(u32::MAX);
        let mut memory = ENTRY_STORAGE.lock();
        memory.idle.extend((0..table.len().min(wanted)).take(MAX).filter_map(|index| table.claim(index)));
        let entries = memory.idle.len();
        Ok(Self { session, memory, batch: plan.batch, entries, calls: 0 })
    }
}

fn target(entry: usize, shift: usize) -> Target {
    let (apic_id, vector) = destination(entry, shift);
    Target::fixed(apic_id, vector)
}

impl Method for Direct<'_> {
    const NAME: &'static str = "direct";

    fn len(&self) -> usize {
        self.entries
    }

    fn accesses(&self) -> u64 {
        0
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn set_up(&mut self, shift: usize) -> bool {
        let EntryStorage { idle, live, requests, granted, .. } = &mut *self.memory;
        requests.clear();
        granted.clear();
        requests.extend(
            idle.iter().enumerate().map(|(entry, idle)| MapRequest::new(idle.origin(), target(entry, shift))),
        );
        granted.extend(idle.iter().map(|_| NOT_MAPPED));
        for (asked, granted) in requests.chunks(self.batch).zip(granted.chunks_mut(self.batch)) {
            self.calls += 1;
            if self.session.map_batch(asked, granted, BatchMode::AllOrNothing).is_err() {
                return false;
            }
        }
        for (entry, irte) in idle.drain(..).zip(granted.drain(..)) {
            let Ok(irte) = irte else { return false };
            let Ok(programmed) = entry.program(irte) else { return false };
            live.push(programmed.unmask());
        }
        live.len() == self.entries
    }

    fn retarget(&mut self, count: usize, shift: usize) -> bool {
        let EntryStorage { live, targets, moved, .. } = &mut *self.memory;
        targets.clear();
        moved.clear();
        targets.extend((0..count).map(|entry| target(entry, shift)));
        moved.extend((0..count).map(|_| Err(EntryError::NotAsked)));
        let all = live.iter().len();
        let live = live.get_mut(..count.min(all)).unwrap_or_default();
        let chunks =
            live.chunks_mut(self.batch).zip(targets.chunks(self.batch)).zip(moved.chunks_mut(self.batch));
        for ((live, targets), moved) in chunks {
            self.calls += 1;
            if self.session.retarget_batch(live, targets, moved, BatchMode::AllOrNothing).is_err() {
                return false;
            }
        }
        true
    }

    fn mask(&mut self, count: usize) -> bool {
        // From the end and back, so that nothing is shifted.
        let EntryStorage { live, parked, .. } = &mut *self.memory;
        for entry in (0..count).map_while(|_| live.pop()) {
            let Ok(masked) = entry.mask() else { return false };
            parked.push(masked);
        }
        parked.len() == count
    }

    fn unmask(&mut self, count: usize) -> bool {
        let EntryStorage { live, parked, .. } = &mut *self.memory;
        live.extend((0..count).map_while(|_| parked.pop()).map(Entry::unmask));
        live.len() == self.entries
    }

    fn tear_down(&mut self) -> bool {
        let EntryStorage { idle, live, moved, irtes, .. } = &mut *self.memory;
        irtes.clear();
        moved.clear();
        for entry in live.drain(..) {
            let Ok(masked) = entry.mask() else { return false };
            let (entry, irte) = masked.retire();
            idle.push(entry);
            irtes.push(Some(irte));
            moved.push(Err(EntryError::NotAsked));
        }
        for (irtes, given) in irtes.chunks_mut(self.batch).zip(moved.chunks_mut(self.batch)) {
            self.calls += 1;
            if self.session.unmap_batch(irtes, given, BatchMode::AllOrNothing).is_err() {
                return false;
            }
        }
        idle.len() == self.entries
    }
}
