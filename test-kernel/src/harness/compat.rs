//! Messages in compatibility format, written by the kernel itself: for machines where nothing remaps or checks them, and
//! for stores that the VMM traps (Intel SDM volume 3, "Message Signalled Interrupts").

use crate::machine::memory::registers::{Registers, halves};
use crate::machine::pci::config::PortAccess;
use crate::machine::pci::{Function, bars};
use core::cell::Cell;
use pci_types::capability::MsixCapability;
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

/// An MSI-X table, switched on with every entry masked. Where it is trapped, each access to it is an exit, so they are
/// counted.
pub(crate) struct MsixTable {
    registers: Registers,
    pending: Registers,
    capability: MsixCapability,
    accesses: Cell<u32>,
}

const ENTRY: u64 = 16;

impl MsixTable {
    pub(crate) fn open(function: &Function) -> Option<Self> {
        let mut capability = function.msix()?;
        let registers = bars::registers(function, capability.table_bar()).ok()?;
        let pending = bars::registers(function, capability.pba_bar()).ok()?;
        capability.set_function_mask(true, PortAccess);
        capability.set_enabled(true, PortAccess);
        let table = Self { registers, pending, capability, accesses: Cell::new(0) };
        for index in 0..capability.table_size() {
            table.set_masked(index, true);
        }
        capability.set_function_mask(false, PortAccess);
        Some(table)
    }

    pub(crate) fn len(&self) -> u16 {
        self.capability.table_size()
    }

    /// Accesses to table and pending bits so far.
    pub(crate) fn accesses(&self) -> u32 {
        self.accesses.get()
    }

    /// Masks, writes, reads back and unmasks an entry; whether it reads back as written.
    pub(crate) fn program(&self, index: u16, message: (u64, u32)) -> bool {
        self.set_masked(index, true);
        let same = self.write(index, message);
        self.set_masked(index, false);
        same
    }

    /// Writes address and data, masked or not; whether they read back as written.
    pub(crate) fn write(&self, index: u16, (address, data): (u64, u32)) -> bool {
        let (low, high) = halves(address);
        let words = [low, high, data];
        for (word, offset) in words.iter().zip([0, 4, 8]) {
            self.put(self.at(index) + offset, *word);
        }
        words.iter().zip([0, 4, 8]).all(|(word, offset)| self.get(self.at(index) + offset) == *word)
    }

    /// The words of an entry.
    pub(crate) fn entry(&self, index: u16) -> [u32; 4] {
        let at = self.at(index);
        [0, 4, 8, 12].map(|offset| self.get(at + offset))
    }

    pub(crate) fn set_masked(&self, index: u16, masked: bool) {
        self.put(self.at(index) + 12, u32::from(masked));
    }

    /// Whether an entry's pending bit is set.
    pub(crate) fn is_pending(&self, index: u16) -> bool {
        self.accesses.set(self.accesses.get() + 1);
        let at = u64::from(self.capability.pba_offset()) + u64::from(index / 32) * 4;
        self.pending.read(at) >> (index % 32) & 1 != 0
    }

    /// Sets Function Mask; answers with how it reads back.
    pub(crate) fn set_function_mask(&mut self, masked: bool) -> bool {
        self.capability.set_function_mask(masked, PortAccess);
        self.capability.function_mask(PortAccess)
    }

    /// Sets MSI-X Enable; answers with how it reads back.
    pub(crate) fn set_enabled(&mut self, enabled: bool) -> bool {
        self.capability.set_enabled(enabled, PortAccess);
        self.capability.enabled(PortAccess)
    }

    /// Writes a word of the table, at this place of its BAR.
    pub(crate) fn put(&self, at: u64, word: u32) {
        self.accesses.set(self.accesses.get() + 1);
        self.registers.write(at, word);
    }

    /// Reads a word of the table, at this place of its BAR.
    pub(crate) fn get(&self, at: u64) -> u32 {
        self.accesses.set(self.accesses.get() + 1);
        self.registers.read(at)
    }

    /// Where in its BAR an entry is.
    pub(crate) fn at(&self, index: u16) -> u64 {
        u64::from(self.capability.table_offset()) + u64::from(index) * ENTRY
    }
}

impl Table for MsixTable {
    fn put_word(&self, entry: u16, word: Word, value: u32) {
        self.put(self.at(entry) + word.offset(), value);
    }

    fn get_word(&self, entry: u16, word: Word) -> u32 {
        self.get(self.at(entry) + word.offset())
    }
}
