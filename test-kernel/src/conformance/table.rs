//! An MSI-X table and its pending bits, as they are: no rule of `pvir-guest` in the way.

use crate::machine::memory::registers::{Registers, halves};
use crate::machine::pci::config::PortAccess;
use crate::machine::pci::{Function, bars};
use core::cell::RefCell;
use pci_types::capability::MsixCapability;
use pvir_guest::abi::Pair;

const ENTRY: u64 = 16;
const CONTROL: u64 = 12;
const MASKED: u32 = 1;

/// The MSI-X table of one device.
#[derive(Debug)]
pub(super) struct RawMsixTable {
    registers: Registers,
    pending: Registers,
    capability: RefCell<MsixCapability>,
    at: u64,
    pending_at: u64,
    len: u32,
}

impl RawMsixTable {
    /// Maps it; nothing is changed.
    pub(super) fn open(function: &Function) -> Option<Self> {
        let capability = function.msix()?;
        Some(Self {
            registers: bars::registers(function, capability.table_bar()).ok()?,
            pending: bars::registers(function, capability.pba_bar()).ok()?,
            at: capability.table_offset().into(),
            pending_at: capability.pba_offset().into(),
            len: capability.table_size().into(),
            capability: RefCell::new(capability),
        })
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// MSI-X Enable and Function Mask of the capability.
    pub(super) fn set_capability(&self, enabled: bool, function_mask: bool) {
        let mut capability = self.capability.borrow_mut();
        capability.set_function_mask(function_mask, PortAccess);
        capability.set_enabled(enabled, PortAccess);
    }

    /// What the capability says of the two.
    pub(super) fn capability(&self) -> (bool, bool) {
        let capability = self.capability.borrow();
        (capability.enabled(PortAccess), capability.function_mask(PortAccess))
    }

    /// Masks every entry.
    pub(super) fn mask_all(&self) {
        (0..self.len).for_each(|index| self.set_masked(index, true));
    }

    /// Address and data.
    pub(super) fn pair(&self, index: u32) -> Pair {
        let at = self.entry(index);
        let [low, high, data] = [0, 4, 8].map(|offset| self.registers.read(at + offset));
        Pair { address: u64::from(high) << 32 | u64::from(low), data }
    }

    /// Writes address and data, masked or not.
    pub(super) fn set_pair(&self, index: u32, pair: Pair) {
        let at = self.entry(index);
        let (low, high) = halves(pair.address);
        self.registers.write(at, low);
        self.registers.write(at + 4, high);
        self.registers.write(at + 8, pair.data);
    }

    /// Whether the entry's mask bit is set.
    pub(super) fn is_masked(&self, index: u32) -> bool {
        self.registers.read(self.entry(index) + CONTROL) & MASKED != 0
    }

    /// Writes the mask bit, and reads it back, so that it has reached the device.
    pub(super) fn set_masked(&self, index: u32, masked: bool) {
        self.registers.write(self.entry(index) + CONTROL, u32::from(masked));
        self.is_masked(index);
    }

    /// Whether the entry's pending bit is set.
    pub(super) fn is_pending(&self, index: u32) -> bool {
        let at = self.pending_at + u64::from(index / 32) * 4;
        self.pending.read(at) & 1 << (index % 32) != 0
    }

    fn entry(&self, index: u32) -> u64 {
        self.at + u64::from(index) * ENTRY
    }
}
