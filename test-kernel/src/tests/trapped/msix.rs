//! The stages of a device with MSI-X.

use super::VECTORS_EACH;
use super::witness::{MessageTarget, Witness, comes_to, raise_to};
use crate::harness::checks::Checks;
use crate::harness::compat;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::{Device, Trigger};
use crate::machine::pci::Function;
use crate::machine::pci::msix_table::RawMsixTable;
use pvir_guest::abi::DeviceId;

/// A device, its table and where each entry goes.
pub(super) struct Msix {
    pub(super) name: &'static str,
    pub(super) id: Option<DeviceId>,
    pub(super) device: Device,
    pub(super) table: RawMsixTable,
    /// Entries that take part; each has the vector `first` and its number, and as many behind for when it moves.
    pub(super) entries: u16,
    first: u8,
    /// By how many processors entries have moved, and whether to their second vectors.
    moved: bool,
}

impl Msix {
    pub(super) fn open(
        name: &'static str,
        function: &Function,
        device: Device,
        first: u8,
    ) -> Result<Self, Device> {
        let Some(table) = RawMsixTable::open_masked(function) else { return Err(device) };
        let entries = device.vectors().min(table.len()).min(u16::from(VECTORS_EACH / 2));
        let id = crate::machine::pci::device_id(function.address);
        Ok(Self { name, id, device, table, entries, first, moved: false })
    }

    pub(super) fn all_stages(&mut self, rounds: u64, checks: &mut Checks) {
        self.held_before_first_use(checks);
        self.programmed(checks);
        self.delivered(rounds, "delivered", checks);
        self.masked(checks);
        self.function_mask(checks);
        self.moved_while_live(rounds, checks);
        self.disabled(checks);
        self.refused(checks);
        self.delivered(rounds, "delivered-after-all", checks);
        let (name, accesses) = (self.name, self.table.accesses());
        report::event("trapped", |event| {
            event.str("device", name).num("table_accesses", accesses);
        });
    }

    pub(super) fn place(&self, index: u16) -> Option<MessageTarget> {
        let shift = u16::from(self.moved);
        let vector = u16::from(self.first) + index + shift * u16::from(VECTORS_EACH / 2);
        MessageTarget::new(usize::from(index + shift), u8::try_from(vector).ok()?)
    }

    fn expect(&self, checks: &mut Checks, what: &'static str, right: bool, all: usize) {
        checks.expect(what, right, format_args!("{}: {all} of {} MSI-X entries", self.name, self.entries));
    }

    /// Counts the entries of which something holds.
    pub(super) fn each(&mut self, mut holds: impl FnMut(&mut Self, u16, MessageTarget) -> bool) -> usize {
        let places = (0..self.entries).filter_map(|index| Some((index, self.place(index)?)));
        let places: arrayvec::ArrayVec<(u16, MessageTarget), { VECTORS_EACH as usize }> = places.collect();
        places.into_iter().filter(|(index, place)| holds(self, *index, *place)).count()
    }

    /// A device that is passed through needs a moment: its message goes through the host's kernel.
    fn becomes_pending(&self, index: u16) -> bool {
        wait_until(PATIENCE_MS, || self.table.is_pending(index.into()))
    }

    fn all(&self) -> usize {
        usize::from(self.entries)
    }

    /// Raised before the entry was ever unmasked: held by whoever has the pending bit then.
    fn held_before_first_use(&mut self, checks: &mut Checks) {
        let witness = Witness::new();
        let held = self.each(|this, index, _| {
            this.device.raise(index);
            this.becomes_pending(index)
        });
        let quiet = witness.saw_nothing();
        self.expect(checks, "held-before-use", quiet && held == self.all(), held);
        let came = self.each(|this, index, place| {
            let wrote = compat::write(&this.table, index, place.message());
            let came = comes_to(place, || this.table.set_masked(index.into(), false));
            this.device.acknowledge(index);
            wrote && came && !this.table.is_pending(index.into())
        });
        let exact = witness.saw(self.entries.into(), &self.device);
        self.expect(checks, "sent-at-first-use", exact && came == self.all(), came);
    }

    /// What it costs to program an entry.
    pub(super) fn programmed(&mut self, checks: &mut Checks) {
        let before = self.table.accesses();
        let wrote = self.each(|this, index, place| compat::program(&this.table, index, place.message()));
        let (name, entries, accesses) = (self.name, self.entries, self.table.accesses() - before);
        let each = accesses / u32::from(entries.max(1));
        report::event("programmed", |event| {
            event.str("device", name).num("entries", entries).num("exits_per_vector", each);
        });
        checks.expect(
            "programmed",
            wrote == self.all(),
            format_args!(
                "{name}: {wrote} of {entries} MSI-X entries read back, {each} exits each where trapped"
            ),
        );
    }

    pub(super) fn delivered(&mut self, rounds: u64, what: &'static str, checks: &mut Checks) {
        let witness = Witness::new();
        let came =
            self.each(|this, index, place| (0..rounds).all(|_| raise_to(&mut this.device, index, place)));
        let exact = witness.saw(rounds * u64::from(self.entries), &self.device);
        self.expect(checks, what, exact && came == self.all(), came);
    }

    /// Raised while masked: pending, and sent once on unmask.
    fn masked(&mut self, checks: &mut Checks) {
        let witness = Witness::new();
        let held = self.each(|this, index, _| {
            this.table.set_masked(index.into(), true);
            let clear = !this.table.is_pending(index.into());
            this.device.raise(index);
            let pending = this.becomes_pending(index);
            this.device.acknowledge(index);
            // Once more where it has come when the register was written: of others nobody sees when the second one has.
            if this.device.sent(index).is_some() {
                this.device.raise(index);
            }
            clear && pending
        });
        let quiet = witness.saw_nothing();
        self.expect(checks, "held-while-masked", quiet && held == self.all(), held);
        let came = self.each(|this, index, place| {
            let came = comes_to(place, || this.table.set_masked(index.into(), false));
            this.device.acknowledge(index);
            came && !this.table.is_pending(index.into())
        });
        let exact = witness.saw(self.entries.into(), &self.device);
        self.expect(checks, "sent-once-on-unmask", exact && came == self.all(), came);
    }

    fn function_mask(&mut self, checks: &mut Checks) {
        let witness = Witness::new();
        let set = self.table.set_function_mask(true);
        let held = self.each(|this, index, _| {
            this.device.raise(index);
            this.becomes_pending(index)
        });
        let quiet = witness.saw_nothing();
        self.expect(checks, "held-by-function-mask", set && quiet && held == self.all(), held);
        let clear = !self.table.set_function_mask(false);
        let exact = witness.saw(self.entries.into(), &self.device);
        let gone = self.each(|this, index, _| {
            this.device.acknowledge(index);
            !this.table.is_pending(index.into())
        });
        self.expect(checks, "sent-once-by-function-mask", clear && exact && gone == self.all(), gone);
    }

    /// Another message while unmasked, to another processor.
    fn moved_while_live(&mut self, rounds: u64, checks: &mut Checks) {
        self.moved = true;
        let wrote = self.each(|this, index, place| compat::write(&this.table, index, place.message()));
        self.expect(checks, "changed-while-live", wrote == self.all(), wrote);
        self.delivered(rounds, "delivered-after-change", checks);
    }

    /// MSI-X off: nothing comes. On again, entries are as they were, and what the device had kept comes once.
    fn disabled(&mut self, checks: &mut Checks) {
        let witness = Witness::new();
        let off = !self.table.set_enabled(false);
        self.each(|this, index, _| {
            this.device.raise(index);
            this.device.acknowledge(index);
            true
        });
        // What was raised may still be under way in a busy host: it has to come to its end while MSI-X is off.
        let quiet = (0..10).all(|_| witness.saw_nothing());
        let witness = Witness::new();
        let on = self.table.set_enabled(true);
        let at_most_once = witness.saw_no_more_than_kept(self.entries.into());
        let kept = self.each(|this, index, place| {
            let (address, data) = place.message();
            let [low, high, kept, control] = this.table.entry(index.into());
            (u64::from(low) | u64::from(high) << 32, kept, control) == (address, data, 0)
        });
        self.expect(checks, "disabled", off && quiet && on && at_most_once && kept == self.all(), kept);
    }

    /// Messages of which no interrupt comes, on bare metal as here: an NMI, an exception's vector, remappable format.
    fn refused(&mut self, checks: &mut Checks) {
        let witness = Witness::new();
        let silent = self.each(|this, index, place| {
            let (address, data) = place.message();
            let bad = [(address, data | 4 << 8), (address, 14), (address | 1 << 4, data)];
            bad.into_iter().all(|message| {
                let wrote = compat::program(&this.table, index, message);
                this.device.raise(index);
                this.device.acknowledge(index);
                wrote && !this.table.is_pending(index.into())
            })
        });
        let quiet = (0..10).all(|_| witness.saw_nothing());
        let again = self.each(|this, index, place| compat::program(&this.table, index, place.message()));
        let still_quiet = witness.saw_nothing();
        let right = quiet && still_quiet && again == self.all() && silent == self.all();
        checks.expect(
            "no-interrupt-of-bad-messages",
            right,
            format_args!(
                "{}: {silent} of {} MSI-X entries; quiet while bad {quiet}, with good messages again {still_quiet}",
                self.name,
                self.entries
            ),
        );
    }
}
