//! Messages in compatibility format, written by the kernel itself: for the self-test, on machines where nothing
//! remaps or checks them (Intel SDM volume 3, "Message Signalled Interrupts").

use crate::memory::registers::Registers;
use crate::pci::config::PortAccess;
use crate::pci::{Function, bars};
use pci_types::capability::MsixCapability;

/// Address and data of a fixed, edge-triggered interrupt with a physical destination; `None` if the id does not
/// fit into its eight bits.
pub(super) fn message(apic_id: u32, vector: u8) -> Option<(u64, u32)> {
    let destination = u8::try_from(apic_id).ok().filter(|id| *id != 0xff)?;
    Some((0xfee0_0000 | u64::from(destination) << 12, u32::from(vector)))
}

/// Switches a device's only MSI on with this message.
pub(super) fn program_msi(function: &Function, (address, data): (u64, u32)) -> bool {
    let Some(msi) = function.msi() else { return false };
    msi.set_enabled(false, PortAccess);
    msi.set_message_info(address, data, PortAccess);
    msi.set_enabled(true, PortAccess);
    msi.is_enabled(PortAccess)
}

/// An MSI-X table, switched on with every entry masked.
pub(super) struct MsixTable {
    registers: Registers,
    capability: MsixCapability,
}

const ENTRY: u64 = 16;
const MASKED: u32 = 1;

impl MsixTable {
    pub(super) fn open(function: &Function) -> Option<Self> {
        let mut capability = function.msix()?;
        let registers = bars::registers(function, capability.table_bar()).ok()?;
        capability.set_function_mask(true, PortAccess);
        capability.set_enabled(true, PortAccess);
        let table = Self { registers, capability };
        for index in 0..capability.table_size() {
            table.registers.write(table.at(index) + 12, MASKED);
        }
        capability.set_function_mask(false, PortAccess);
        Some(table)
    }

    pub(super) fn len(&self) -> u16 {
        self.capability.table_size()
    }

    /// Masks, writes, reads back and unmasks an entry; whether it reads back as written.
    pub(super) fn program(&self, index: u16, (address, data): (u64, u32)) -> bool {
        let at = self.at(index);
        let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
        let words = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), data];
        self.set_masked(index, true);
        for (word, offset) in words.iter().zip([0, 4, 8]) {
            self.registers.write(at + offset, *word);
        }
        let same =
            words.iter().zip([0, 4, 8]).all(|(word, offset)| self.registers.read(at + offset) == *word);
        self.set_masked(index, false);
        same
    }

    pub(super) fn set_masked(&self, index: u16, masked: bool) {
        self.registers.write(self.at(index) + 12, u32::from(masked));
    }

    fn at(&self, index: u16) -> u64 {
        u64::from(self.capability.table_offset()) + u64::from(index) * ENTRY
    }
}
