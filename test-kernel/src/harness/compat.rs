//! Messages in compatibility format, written by the kernel itself: for machines where nothing remaps or checks them, and
//! for stores that the VMM traps (Intel SDM volume 3, "Message Signalled Interrupts").

use crate::machine::pci::Function;
use crate::machine::pci::config::PortAccess;
use crate::machine::pci::msix_table::RawMsixTable;
use pvir_guest::abi::Pair;
use pvir_test_kernel::linux::{Table, Word};

/// Address and data of a fixed, edge-triggered interrupt with a physical destination; `None` if the id does not
/// fit into its eight bits.
pub(crate) fn message(apic_id: u32, vector: u8) -> Option<(u64, u32)> {
    let destination = u8::try_from(apic_id).ok().filter(|id| *id != 0xff)?;
    Some((0xfee0_0000 | u64::from(destination) << 12, u32::from(vector)))
}

/// Switches a device's only MSI on with this message.
pub(crate) fn program_msi(function: &Function, (address, data): (u64, u32)) -> bool {
    let Some(msi) = function.msi() else { return false };
    msi.set_enabled(false, PortAccess);
    msi.set_message_info(address, data, PortAccess);
    msi.set_enabled(true, PortAccess);
    msi.is_enabled(PortAccess)
}

/// Masks, writes, reads back and unmasks an entry; whether it reads back as written.
pub(crate) fn program(table: &RawMsixTable, index: u16, message: (u64, u32)) -> bool {
    table.set_masked(index.into(), true);
    let same = write(table, index, message);
    table.set_masked(index.into(), false);
    same
}

/// Writes address and data of an entry, masked or not; whether they read back as written.
pub(crate) fn write(table: &RawMsixTable, index: u16, (address, data): (u64, u32)) -> bool {
    let pair = Pair { address, data };
    table.set_pair(index.into(), pair);
    table.pair(index.into()) == pair
}

impl Table for RawMsixTable {
    fn put_word(&self, entry: u16, word: Word, value: u32) {
        self.put(self.at(entry.into()) + word.offset(), value);
    }

    fn get_word(&self, entry: u16, word: Word) -> u32 {
        self.get(self.at(entry.into()) + word.offset())
    }
}
