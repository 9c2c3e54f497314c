//! As a Linux guest does it that knows nothing of pvir.

use super::{Method, Plan, destination};
use crate::harness::compat;
use crate::machine::cpu::usermode;
use crate::machine::pci::Function;
use crate::machine::pci::msix_table::RawMsixTable;
use pvir_test_kernel::linux::{self, Message};

/// The first entries of a table.
pub(super) struct Trapped {
    table: RawMsixTable,
    entries: u16,
}

impl Trapped {
    pub(super) fn open(function: &Function, plan: Plan) -> Option<Self> {
        let table = RawMsixTable::open_masked(function)?;
        table.set_enabled(false);
        let wanted = u16::try_from(plan.vectors).unwrap_or(u16::MAX);
        let entries = table.len().min(wanted);
        Some(Self { table, entries })
    }

    fn message(entry: u16, shift: usize) -> Option<Message> {
        let (apic_id, vector) = destination(entry.into(), shift);
        compat::message(apic_id, vector)
    }

    fn first(&self, count: usize) -> core::ops::Range<u16> {
        0..self.entries.min(u16::try_from(count).unwrap_or(u16::MAX))
    }
}

impl Method for Trapped {
    const NAME: &'static str = "trapped";

    fn len(&self) -> usize {
        self.entries.into()
    }

    fn accesses(&self) -> u64 {
        self.table.accesses().into()
    }

    fn calls(&self) -> u64 {
        0
    }

    fn set_up(&mut self, shift: usize) -> bool {
        // A VMM asks its host for interrupts when MSI-X goes on, and gives them back when it goes off.
        let on = usermode::in_ring0(|| self.table.set_enabled(true));
        on == Some(true)
            && (0..self.entries).all(|entry| {
                Self::message(entry, shift).is_some_and(|message| linux::request(&self.table, entry, message))
            })
    }

    fn retarget(&mut self, count: usize, shift: usize) -> bool {
        self.first(count).all(|entry| {
            let (old, new) = (Self::message(entry, shift.wrapping_sub(1)), Self::message(entry, shift));
            old.zip(new).is_some_and(|(old, new)| linux::set_affinity(&self.table, entry, old, new))
        })
    }

    fn mask(&mut self, count: usize) -> bool {
        self.first(count).for_each(|entry| linux::mask(&self.table, entry));
        true
    }

    fn unmask(&mut self, count: usize) -> bool {
        self.first(count).for_each(|entry| linux::unmask(&self.table, entry));
        true
    }

    fn tear_down(&mut self) -> bool {
        let freed = (0..self.entries).all(|entry| linux::free(&self.table, entry));
        freed && usermode::in_ring0(|| self.table.set_enabled(false)) == Some(false)
    }
}
