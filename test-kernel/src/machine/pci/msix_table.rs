//! An MSI-X table, its pending bits and its capability as plain registers: no rule of `pvir-guest` is in the way (PCI
//! Express Base Specification 6.0, section 7.7.2 "MSI-X Capability and Table Structures").

use super::config::PortAccess;
use super::{Function, bars};
use crate::machine::memory::registers::{Registers, halves};
use core::cell::{Cell, RefCell};
use pci_types::capability::MsixCapability;
use pvir_guest::abi::Pair;

const ENTRY: u64 = 16;
const CONTROL: u64 = 12;
const MASKED: u32 = 1;

/// The MSI-X table of one device. Where it is trapped, each access to table and pending bits is an exit, so they are
/// counted.
#[derive(Debug)]
pub(crate) struct RawMsixTable {
    registers: Registers,
    pending: Registers,
    capability: RefCell<MsixCapability>,
    accesses: Cell<u32>,
    table_offset: u64,
    pending_offset: u64,
    len: u16,
}

impl RawMsixTable {
    /// Maps the table, and changes nothing.
    pub(crate) fn open(function: &Function) -> Option<Self> {
        let capability = function.msix()?;
        Some(Self {
            registers: bars::registers(function, capability.table_bar()).ok()?,
            pending: bars::registers(function, capability.pba_bar()).ok()?,
            accesses: Cell::new(0),
            table_offset: capability.table_offset().into(),
            pending_offset: capability.pba_offset().into(),
            len: capability.table_size(),
            capability: RefCell::new(capability),
        })
    }

    /// Maps the table, and switches MSI-X on with every entry masked.
    pub(crate) fn open_masked(function: &Function) -> Option<Self> {
        let table = Self::open(function)?;
        table.set_capability(true, true);
        (0..u32::from(table.len)).for_each(|index| table.set_masked(index, true));
        table.set_function_mask(false);
        Some(table)
    }

    /// Number of entries.
    pub(crate) const fn len(&self) -> u16 {
        self.len
    }

    /// Accesses to table and pending bits so far.
    pub(crate) fn accesses(&self) -> u32 {
        self.accesses.get()
    }

    /// Writes MSI-X Enable and Function Mask.
    pub(crate) fn set_capability(&self, enabled: bool, function_mask: bool) {
        self.set_function_mask(function_mask);
        self.set_enabled(enabled);
    }

    /// Writes Function Mask; answers with how it reads back.
    pub(crate) fn set_function_mask(&self, masked: bool) -> bool {
        let mut capability = self.capability.borrow_mut();
        capability.set_function_mask(masked, PortAccess);
        capability.function_mask(PortAccess)
    }

    /// Writes MSI-X Enable; answers with how it reads back.
    pub(crate) fn set_enabled(&self, enabled: bool) -> bool {
        let mut capability = self.capability.borrow_mut();
        capability.set_enabled(enabled, PortAccess);
        capability.enabled(PortAccess)
    }

    /// MSI-X Enable and Function Mask.
    pub(crate) fn capability(&self) -> (bool, bool) {
        let capability = self.capability.borrow();
        (capability.enabled(PortAccess), capability.function_mask(PortAccess))
    }

    /// Address and data of an entry.
    pub(crate) fn pair(&self, index: u32) -> Pair {
        let [low, high, data] = self.words(index);
        Pair { address: u64::from(high) << 32 | u64::from(low), data }
    }

    /// Writes address and data of an entry, masked or not.
    pub(crate) fn set_pair(&self, index: u32, pair: Pair) {
        let at = self.at(index);
        let (low, high) = halves(pair.address);
        for (word, offset) in [low, high, pair.data].into_iter().zip([0, 4, 8]) {
            self.put(at + offset, word);
        }
    }

    /// The four words of an entry.
    pub(crate) fn entry(&self, index: u32) -> [u32; 4] {
        self.words(index)
    }

    /// The first words of an entry.
    fn words<const N: usize>(&self, index: u32) -> [u32; N] {
        let mut at = self.at(index);
        [(); N].map(|()| {
            let word = self.get(at);
            at += 4;
            word
        })
    }

    /// Masks every entry.
    pub(crate) fn mask_all(&self) {
        (0..u32::from(self.len)).for_each(|index| self.set_masked_at_once(index, true));
    }

    /// Whether the entry's mask bit is set.
    pub(crate) fn is_masked(&self, index: u32) -> bool {
        self.get(self.at(index) + CONTROL) & MASKED != 0
    }

    /// Writes the entry's mask bit.
    pub(crate) fn set_masked(&self, index: u32, masked: bool) {
        self.put(self.at(index) + CONTROL, u32::from(masked));
    }

    /// Writes the entry's mask bit, and reads it back, so that it has reached the device.
    pub(crate) fn set_masked_at_once(&self, index: u32, masked: bool) {
        self.set_masked(index, masked);
        self.is_masked(index);
    }

    /// Whether the entry's pending bit is set.
    pub(crate) fn is_pending(&self, index: u32) -> bool {
        self.accesses.set(self.accesses.get() + 1);
        let at = self.pending_offset + u64::from(index / 32) * 4;
        self.pending.read(at) & 1 << (index % 32) != 0
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

    /// Reads 1, 2, 4 or 8 bytes at any place of the table, aligned or not.
    pub(crate) fn read_any(&self, offset: u64, bytes: u8) -> u64 {
        self.registers.read_any(self.within(offset, bytes), bytes)
    }

    /// Writes so many.
    pub(crate) fn write_any(&self, offset: u64, bytes: u8, value: u64) {
        self.registers.write_any(self.within(offset, bytes), bytes, value);
    }

    /// Reads and writes so many bytes of the pending bits, at this place of the 64-bit word that every table has.
    pub(crate) fn touch_pending(&self, offset: u64, bytes: u8, value: u64) {
        const WORD: u64 = 8;
        let at = self.pending_offset + offset.min(WORD - u64::from(bytes).min(WORD));
        self.pending.read_any(at, bytes);
        self.pending.write_any(at, bytes, value);
    }

    /// Where in its BAR so many bytes of the table are, the last ones if they would leave it.
    fn within(&self, offset: u64, bytes: u8) -> u64 {
        let last = (u64::from(self.len) * ENTRY).saturating_sub(bytes.into());
        self.table_offset + offset.min(last)
    }

    /// Where in its BAR an entry is.
    pub(crate) fn at(&self, index: u32) -> u64 {
        self.table_offset + u64::from(index) * ENTRY
    }
}
