//! What a guest has given back: the host knows its handles no more, and its pairs reach nobody.

use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{QUIET_MS, wait_until};
use crate::machine::devices::{Device, Trigger};
use crate::machine::pci::msix_table::RawMsixTable;
use crate::remapping::Session;
use arrayvec::ArrayVec;
use pvir_guest::abi::{Handle, Status};
use pvir_guest::{Error, Irte};

/// So often the kernel waits once more for interrupts that are under way.
const LAST_ONES: u32 = 100;

/// The IRTEs of MSI-X entries 0 to this less one, given back in one way or another.
pub(crate) struct Former<const N: usize>(ArrayVec<Irte, N>);

/// What is wrong with something that was given back.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "printed by its Debug form")]
pub(crate) enum Undead {
    /// The host answers its handle with this, or with what is no status.
    Handle(usize, Option<Status>),
    /// Its handle was given once more.
    GivenTwice(Handle),
    /// So many interrupts came of the pairs.
    Pair(u64),
}

impl<const N: usize> Former<N> {
    /// None yet.
    pub(crate) const fn none() -> Self {
        Self(ArrayVec::new_const())
    }

    /// These, in the order of their entries.
    pub(crate) fn of(irtes: ArrayVec<Irte, N>) -> Self {
        Self(irtes)
    }

    /// Fails unless the host answers each handle with `status`.
    pub(crate) fn answer(&self, session: &Session, status: Status) -> Result<(), Undead> {
        for (entry, irte) in self.0.iter().enumerate() {
            let said = match session.verify(irte) {
                Err(Error::Entry { status, .. }) => Some(status.status()),
                Ok(_) => Some(Status::OK),
                Err(_) => None,
            };
            if said != Some(status) {
                return Err(Undead::Handle(entry, said));
            }
        }
        Ok(())
    }

    /// Fails if one of them had the handle of `irte`.
    pub(crate) fn is_not(&self, irte: &Irte) -> Result<(), Undead> {
        let known = self.0.iter().any(|former| former.handle() == irte.handle());
        if known { Err(Undead::GivenTwice(irte.handle())) } else { Ok(()) }
    }

    /// Has the device send each pair, from the entry that it was given for, and fails if anything comes of it. No entry
    /// is mapped, and nobody else raises anything. The entries are masked afterwards.
    pub(crate) fn reach_nobody(&self, table: &RawMsixTable, device: &mut Device) -> Result<(), Undead> {
        settle();
        let before = interrupts::grand_total();
        for (entry, irte) in (0..).zip(&self.0) {
            table.set_pair(entry, irte.pair());
            table.set_masked_at_once(entry, false);
            device.raise(u16::try_from(entry).unwrap_or(0));
        }
        wait_until(QUIET_MS, || interrupts::grand_total() > before);
        for (entry, _) in (0..).zip(&self.0) {
            table.set_masked_at_once(entry, true);
            device.acknowledge(u16::try_from(entry).unwrap_or(0));
        }
        match interrupts::grand_total() - before {
            0 => Ok(()),
            came => Err(Undead::Pair(came)),
        }
    }
}

/// Waits until what was sent before has come.
fn settle() {
    for _ in 0..LAST_ONES {
        let before = interrupts::grand_total();
        if !wait_until(QUIET_MS, || interrupts::grand_total() > before) {
            return;
        }
    }
}
