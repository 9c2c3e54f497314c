//! A device whose first MSI-X entries are live, as the tests of events have it, and how an entry of it is taken again.

use super::live_entries::LiveEntry;
use crate::machine::cpu::time::wait_until;
use crate::machine::devices::{self, Device, Trigger};
use crate::machine::pci::{Function, device_id};
use crate::remapping::{Kernel, Session};
use arrayvec::ArrayVec;
use pvir_guest::abi::DeviceId;
use pvir_guest::{MapRequest, MsixEntry, MsixTable, ReacquireFailed, Reacquired, Target};

/// The device, its driver, and at most `N` live entries: those from the front, in order.
pub(crate) struct LiveDevice<const N: usize> {
    pub(crate) id: DeviceId,
    pub(crate) driver: Device,
    /// Without it nobody may have an entry.
    pub(crate) table: MsixTable<Kernel>,
    /// Nothing in the place of one that is being taken again.
    pub(crate) entries: ArrayVec<Option<LiveEntry>, N>,
}

impl<const N: usize> LiveDevice<N> {
    /// Maps, programs and unmasks the first entries, as many as there are, each to its target.
    pub(crate) fn open(
        function: &Function,
        session: &Session,
        target: impl Fn(usize) -> Target,
    ) -> Option<Self> {
        let id = device_id(function.address)?;
        let mut driver = devices::probe(function).ok()??;
        driver.init();
        let table = MsixTable::open(Kernel, id).ok()?;
        let mut entries = ArrayVec::new();
        for number in 0..N.min(driver.vectors().into()).min(table.len() as usize) {
            let index = u32::try_from(number).ok()?;
            let irte = session.map(MapRequest::new(table.origin(index), target(number))).ok()?;
            entries.push(Some(table.claim(index)?.program(irte).ok()?.unmask()));
        }
        Some(Self { id, driver, table, entries })
    }
}

/// Gives entries back.
pub(crate) fn give_back(session: &Session, entries: impl IntoIterator<Item = LiveEntry>) {
    for entry in entries {
        if let Ok(programmed) = entry.mask() {
            let (_masked, irte) = programmed.retire();
            let _ = session.unmap(irte);
        }
    }
}

/// Takes an entry again, and waits so long for whoever is to let its device go on.
pub(crate) fn take_again(
    session: &Session,
    entry: LiveEntry,
    patience_ms: u64,
) -> Option<Reacquired<MsixEntry<Kernel>>> {
    let mut last = Some(session.reacquire(entry));
    wait_until(patience_ms, || match last.take() {
        // It does not go on yet.
        Some(Err(ReacquireFailed::NotMapped { entry, target, .. })) => {
            last = Some(session.reacquire_masked(entry, target));
            false
        }
        other => {
            last = other;
            true
        }
    });
    last?.ok()
}
