//! With pvir: as few calls as the batch allows, and the table written by the guest itself.

use super::{MAX, Method, Plan, destination};
use crate::machine::memory::page_vec::PageVec;
use crate::machine::pci::Function;
use crate::machine::pci::device_id;
use crate::remapping::{Kernel, Session};
use pvir_guest::{
    BatchMode, Entry, EntryError, Irte, Live, MapRequest, MapResult, Masked, MsixEntry, MsixTable,
    NOT_MAPPED, Programmed, Target,
};

type Entries<S> = PageVec<Entry<MsixEntry<Kernel>, S>>;

/// Too large for the stack.
struct EntryStorage {
    idle: Entries<Masked>,
    live: Entries<Live>,
    parked: Entries<Programmed>,
    requests: PageVec<MapRequest>,
    granted: PageVec<MapResult>,
    targets: PageVec<Target>,
    moved: PageVec<Result<(), EntryError>>,
    irtes: PageVec<Option<Irte>>,
}

impl EntryStorage {
    fn new() -> Option<Self> {
        Some(Self {
            idle: PageVec::with_capacity(MAX)?,
            live: PageVec::with_capacity(MAX)?,
            parked: PageVec::with_capacity(MAX)?,
            requests: PageVec::with_capacity(MAX)?,
            granted: PageVec::with_capacity(MAX)?,
            targets: PageVec::with_capacity(MAX)?,
            moved: PageVec::with_capacity(MAX)?,
            irtes: PageVec::with_capacity(MAX)?,
        })
    }
}

/// The first entries of a table, claimed.
pub(super) struct Direct<'a> {
    session: &'a Session,
    memory: EntryStorage,
    batch: usize,
    entries: usize,
    calls: u64,
}

impl<'a> Direct<'a> {
    pub(super) fn open(session: &'a Session, function: &Function, plan: Plan) -> Result<Self, &'static str> {
        let id = device_id(function.address).ok_or("no address that pvir knows")?;
        let table = MsixTable::open(Kernel, id).map_err(|_| "the table cannot be opened")?;
        let wanted = u32::try_from(plan.vectors).unwrap_or(u32::MAX);
        let mut memory = EntryStorage::new().ok_or("there is no memory for the entries")?;
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
        let EntryStorage { idle, live, requests, granted, .. } = &mut self.memory;
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
        for (entry, irte) in idle.drain(MAX).zip(granted.drain(MAX)) {
            let Ok(irte) = irte else { return false };
            let Ok(programmed) = entry.program(irte) else { return false };
            live.push(programmed.unmask());
        }
        live.len() == self.entries
    }

    fn retarget(&mut self, count: usize, shift: usize) -> bool {
        let EntryStorage { live, targets, moved, .. } = &mut self.memory;
        targets.clear();
        moved.clear();
        targets.extend((0..count).map(|entry| target(entry, shift)));
        moved.extend((0..count).map(|_| Err(EntryError::NotAsked)));
        let all = live.len();
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
        let EntryStorage { live, parked, .. } = &mut self.memory;
        for entry in (0..count).map_while(|_| live.pop()) {
            let Ok(masked) = entry.mask() else { return false };
            parked.push(masked);
        }
        parked.len() == count
    }

    fn unmask(&mut self, count: usize) -> bool {
        let EntryStorage { live, parked, .. } = &mut self.memory;
        live.extend((0..count).map_while(|_| parked.pop()).map(Entry::unmask));
        live.len() == self.entries
    }

    fn tear_down(&mut self) -> bool {
        let EntryStorage { idle, live, moved, irtes, .. } = &mut self.memory;
        irtes.clear();
        moved.clear();
        for entry in live.drain(MAX) {
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
