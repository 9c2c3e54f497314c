//! The stages of a device with MSI only: one message.

use super::witness::{MessageTarget, Witness, raise_to};
use crate::harness::checks::Checks;
use crate::harness::compat;
use crate::machine::cpu;
use crate::machine::devices::{Device, Trigger};
use crate::machine::pci::Function;
use crate::machine::pci::config::PortAccess;
use pci_types::capability::MsiCapability;
use pvir_guest::abi::DeviceId;

/// A device and its capability.
pub(super) struct Msi {
    pub(super) name: &'static str,
    pub(super) id: Option<DeviceId>,
    pub(super) device: Device,
    function: Function,
    vector: u8,
}

impl Msi {
    pub(super) fn new(name: &'static str, function: &Function, device: Device, vector: u8) -> Self {
        let id = crate::machine::pci::device_id(function.address);
        Self { name, id, device, function: *function, vector }
    }

    pub(super) fn all_stages(&mut self, rounds: u64, checks: &mut Checks) {
        self.delivered(rounds, "delivered", checks);
        self.changed_while_live(checks);
        self.disabled(checks);
        self.refused(checks);
        self.delivered(rounds, "delivered-after-all", checks);
    }

    pub(super) fn place(&self, cpu: usize) -> Option<MessageTarget> {
        MessageTarget::new(cpu, self.vector + cpu.to_le_bytes()[0] % 8)
    }

    fn capability(&self) -> Option<MsiCapability> {
        self.function.msi()
    }

    /// Programmed anew for each processor, as a driver does it: disabled meanwhile.
    pub(super) fn delivered(&mut self, rounds: u64, what: &'static str, checks: &mut Checks) {
        let witness = Witness::new();
        let mut came = 0;
        for cpu in 0..cpu::count() {
            let Some(place) = self.place(cpu) else { continue };
            let on = compat::program_msi(&self.function, place.message());
            let all = (0..rounds).all(|_| raise_to(&mut self.device, 0, place));
            came += usize::from(on && all);
        }
        let exact = witness.saw(rounds * cpu::count() as u64, &self.device);
        let right = exact && came == cpu::count();
        checks.expect(what, right, format_args!("{}: one MSI on {came} processors", self.name));
    }

    /// Another message while MSI is enabled.
    fn changed_while_live(&mut self, checks: &mut Checks) {
        let witness = Witness::new();
        let came = self.place(1).zip(self.capability()).is_some_and(|(place, msi)| {
            let (address, data) = place.message();
            msi.set_message_info(address, data, PortAccess);
            raise_to(&mut self.device, 0, place)
        });
        let right = came && witness.saw(1, &self.device);
        checks.expect("changed-while-live", right, format_args!("{}: its MSI", self.name));
    }

    pub(super) fn set_enabled(&self, enabled: bool) -> bool {
        self.capability().is_some_and(|msi| {
            msi.set_enabled(enabled, PortAccess);
            msi.is_enabled(PortAccess)
        })
    }

    fn disabled(&mut self, checks: &mut Checks) {
        let witness = Witness::new();
        let off = !self.set_enabled(false);
        self.device.raise(0);
        self.device.acknowledge(0);
        // What was raised may still be under way in a busy host: it has to come to its end while MSI is off.
        let quiet = (0..10).all(|_| witness.saw_nothing());
        let witness = Witness::new();
        let on = self.set_enabled(true);
        let at_most_once = witness.saw_no_more_than_kept(1);
        checks.expect("disabled", off && quiet && on && at_most_once, format_args!("{}: its MSI", self.name));
    }

    fn refused(&mut self, checks: &mut Checks) {
        let witness = Witness::new();
        let wrote = self.place(0).is_some_and(|place| {
            let (address, data) = place.message();
            [(address, data | 4 << 8), (address, 14), (address | 1 << 4, data)].into_iter().all(|message| {
                let on = compat::program_msi(&self.function, message);
                self.device.raise(0);
                self.device.acknowledge(0);
                on
            })
        });
        let right = wrote && (0..10).all(|_| witness.saw_nothing());
        checks.expect("no-interrupt-of-bad-messages", right, format_args!("{}: its MSI", self.name));
    }
}
