//! The MSI capability: one message of which the device varies the low bits.
//!
//! PCI Express Base Specification 6.0, section 7.7.1 "MSI Capability Structures".

use pvir_abi::Pair;
use pvir_host::emulation::TableEntry;
use pvir_host::pci::MsiRegisters;

/// The MSI capability of an emulated device, as it acts.
#[derive(Debug, Default)]
pub(crate) struct DeviceMsi {
    registers: MsiRegisters,
    pending: u32,
}

impl DeviceMsi {
    /// What is held for a message that the device is not given any more is held for the one that it uses in its place.
    pub(crate) fn set(&mut self, registers: MsiRegisters) {
        self.registers = registers;
        let held = std::mem::take(&mut self.pending);
        (0..u32::BITS).filter(|index| held >> index & 1 != 0).for_each(|index| self.hold(index));
    }

    /// The message that the device uses for an interrupt: one that was given fewer messages than it has interrupts uses
    /// those again (PCI Express Base Specification 6.0, section 6.1.4.4).
    pub(crate) fn message(&self, number: u32) -> u32 {
        number % (1 << self.registers.messages_log2.min(5))
    }

    /// The message for interrupt `index` as the device would send it, or nothing while MSI is off.
    pub(crate) fn entry(&self, index: u32) -> Option<TableEntry> {
        let MsiRegisters { enabled, messages_log2, message, mask } = self.registers;
        let messages = 1 << messages_log2.min(5);
        let index = self.message(index);
        let data = message.data & 0xffff & !(messages - 1) | index;
        enabled.then_some(TableEntry { message: Pair { data, ..message }, masked: mask >> index & 1 != 0 })
    }

    /// The bit of a message, as [`DeviceMsi::entry`] numbers it.
    fn bit(&self, index: u32) -> u32 {
        1 << self.message(index)
    }

    pub(crate) fn hold(&mut self, index: u32) {
        self.pending |= self.bit(index);
    }

    /// Takes a message out of those that are held; answers whether it was.
    pub(crate) fn take(&mut self, index: u32) -> bool {
        let bit = self.bit(index);
        let held = self.pending & bit != 0;
        self.pending &= !bit;
        held
    }

    /// The pending bits.
    pub(crate) fn pending(&self) -> u32 {
        self.pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERS: MsiRegisters = MsiRegisters {
        enabled: true,
        messages_log2: 2,
        message: Pair { address: 0xfee0_0018, data: 0x43 },
        mask: 0b0100,
    };

    #[test]
    fn the_device_varies_the_low_bits_that_it_was_given() {
        let mut msi = DeviceMsi::default();
        assert_eq!(msi.entry(0), None);
        msi.set(REGISTERS);
        let sent: Vec<_> =
            (0..6).map(|i| msi.entry(i).unwrap()).map(|e| (e.message.data, e.masked)).collect();
        assert_eq!(
            sent,
            [(0x40, false), (0x41, false), (0x42, true), (0x43, false), (0x40, false), (0x41, false)]
        );
        // A reserved number of messages is taken for the largest.
        msi.set(MsiRegisters { messages_log2: 7, ..REGISTERS });
        assert_eq!(msi.entry(31).unwrap().message.data, 0x5f);
    }

    #[test]
    fn what_is_held_is_held_once() {
        let mut msi = DeviceMsi::default();
        msi.set(REGISTERS);
        msi.hold(2);
        msi.hold(6);
        assert_eq!(msi.pending(), 0b100);
        msi.hold(3);
        msi.set(MsiRegisters { messages_log2: 1, ..REGISTERS });
        assert_eq!(msi.pending(), 0b11, "two messages are left");
        assert!(msi.take(2) && !msi.take(2) && msi.take(3));
    }
}
