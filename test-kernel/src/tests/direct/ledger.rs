//! Every interrupt that was raised must be handled once, on its processor, with its vector, and nowhere else.

use super::MAX_ENTRIES;
use crate::harness::vectors::Destination;
use crate::machine::console::report;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::Trigger;
use arrayvec::ArrayVec;
use pvir_guest::abi::DeviceId;

/// One entry in one stage.
struct LedgerEntry {
    place: Destination,
    raised: u64,
}

/// The entries of a device in one stage.
pub(super) struct Ledger {
    lines: ArrayVec<LedgerEntry, MAX_ENTRIES>,
    /// Whether the device may send twice for one raise.
    repeats: bool,
    lost: u64,
}

/// What a ledger came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub(super) raised: u64,
    pub(super) handled: u64,
    pub(super) elsewhere: u64,
    pub(super) exact: bool,
}

impl Ledger {
    pub(super) fn new(places: &[Destination], repeats: bool) -> Self {
        let lines = places.iter().map(|place| LedgerEntry { place: *place, raised: 0 }).collect();
        Self { lines, repeats, lost: 0 }
    }

    pub(super) fn handled(&self, entry: usize) -> u64 {
        let of = |line: &LedgerEntry| interrupts::count(line.place.cpu, line.place.vector);
        self.lines.get(entry).map_or(0, of)
    }

    /// Notes that the device was told to raise an entry.
    pub(super) fn raised(&mut self, entry: usize) {
        if let Some(line) = self.lines.get_mut(entry) {
            line.raised += 1;
        }
    }

    /// Raises an entry and waits until it was handled; whether it was.
    pub(super) fn raise(&mut self, device: &mut impl Trigger, entry: usize) -> bool {
        let before = self.handled(entry);
        self.raised(entry);
        device.raise(u16::try_from(entry).unwrap_or(u16::MAX));
        self.arrives(device, entry, before)
    }

    /// Waits until an entry's count goes beyond `before`; whether it did. Acknowledges.
    pub(super) fn arrives(&mut self, device: &mut impl Trigger, entry: usize, before: u64) -> bool {
        // A device that has lost several will lose more: then waiting long proves nothing.
        let patience = if self.lost > 2 { 50 } else { PATIENCE_MS };
        let arrived = wait_until(patience, || self.handled(entry) > before);
        device.acknowledge(u16::try_from(entry).unwrap_or(u16::MAX));
        self.lost += u64::from(!arrived);
        arrived
    }

    /// Counts it all, and tells each entry's line.
    pub(super) fn close(&self, id: DeviceId, name: &str, stage: &str) -> Totals {
        let mut totals = Totals { raised: 0, handled: 0, elsewhere: 0, exact: true };
        for (index, line) in (0u32..).zip(&self.lines) {
            let Destination { cpu, apic_id, vector } = line.place;
            let handled = interrupts::count(cpu, vector);
            let elsewhere = interrupts::total(vector) - handled;
            let right = if self.repeats { handled >= line.raised } else { handled == line.raised };
            totals.raised += line.raised;
            totals.handled += handled;
            totals.elsewhere += elsewhere;
            totals.exact &= right && elsewhere == 0;
            report::event("vector", |event| {
                event
                    .display("device", id)
                    .str("name", name)
                    .str("stage", stage)
                    .num("index", index)
                    .num("apic_id", apic_id)
                    .num("vector", vector)
                    .num("raised", line.raised)
                    .num("handled", handled)
                    .num("elsewhere", elsewhere);
            });
        }
        totals
    }
}
