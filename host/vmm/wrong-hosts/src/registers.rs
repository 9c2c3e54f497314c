//! Registers of a function: what is trapped, and the raising of an emulated device's interrupts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pvir::FunctionRegisters;
use pvir_abi::Pair;
use pvir_host::mapping::RegionMap;

use crate::lines::Lines;
use crate::list::Wrong;

/// Configuration space ("PCI Local Bus Specification, Revision 3.0", sections 6.7, 6.8.1 "MSI Capability Structure" and
/// 6.8.2 "MSI-X Capability and Table Structure"): the pointer to the first capability, the ids of the two that have
/// messages, and their control words' bytes and bits.
const FIRST_CAPABILITY: u16 = 0x34;
const MSI: u8 = 0x05;
const MSIX: u8 = 0x11;
const MSI_CONTROL: u16 = 2;
const MSI_ENABLE: u8 = 1;
const MSIX_CONTROL: u16 = 3;
const MSIX_ENABLE: u8 = 1 << 7;
const FUNCTION_MASK: u8 = 1 << 6;
/// Capabilities have room for so many in 192 bytes.
const MOST_CAPABILITIES: usize = 48;
/// The emulated device (`docs/emulated-device.md`): its registers, RAISE of them, and the BAR that begins with the table.
const REGISTERS_BAR: u8 = 0;
const RAISE: u64 = 0x0c;
const TABLE_BAR: u8 = 2;
/// An entry of the table, and its words.
const ENTRY: u64 = 16;
const VECTOR_CONTROL: u64 = 12;
const MASK: u32 = 1;

/// The registers of the device with this number, of which something is wrong.
pub(crate) struct WrongRegisters {
    pub(crate) registers: Arc<dyn FunctionRegisters>,
    pub(crate) wrong: Option<Wrong>,
    pub(crate) device: usize,
    pub(crate) lines: Arc<Lines>,
    /// The memory of its MSI-X table.
    pub(crate) table: Option<Arc<RegionMap>>,
    pub(crate) seen: Mutex<Seen>,
}

/// What the guest has done.
#[derive(Default)]
pub(crate) struct Seen {
    /// The byte of the MSI capability that has the Enable bit, as written last.
    msi: u8,
    /// The same of MSI-X.
    msix: u8,
    /// By offset: words of table entries that were raised.
    words: BTreeMap<u64, u32>,
}

impl WrongRegisters {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the capability with this id is.
    fn capability(&self, id: u8) -> Option<u16> {
        let byte = |offset: u16| {
            let mut byte = [0];
            self.registers.config_read(offset, &mut byte);
            byte[0]
        };
        let next = |at: &u16| Some(u16::from(byte(at + 1))).filter(|next| *next != 0);
        let first = Some(u16::from(byte(FIRST_CAPABILITY))).filter(|first| *first != 0);
        let mut all = std::iter::successors(first, next).take(MOST_CAPABILITIES);
        all.find(|at| byte(*at) == id)
    }

    /// The byte at `offset` of the capability, among `data` at `at`.
    fn byte_of<'d>(&self, id: u8, offset: u16, at: u16, data: &'d mut [u8]) -> Option<&'d mut u8> {
        let place = self.capability(id)? + offset;
        data.get_mut(usize::from(place.checked_sub(at)?))
    }

    /// The words of entry `index`.
    fn entry(&self, index: u32) -> Option<[u32; 4]> {
        let (table, at) = (self.table.as_ref()?, u64::from(index) * ENTRY);
        let word = |offset| table.read(at + offset).ok();
        Some([word(0)?, word(4)?, word(8)?, word(VECTOR_CONTROL)?])
    }

    /// Interrupt `index` is raised.
    fn raised(&self, index: u32) {
        let Some(words @ [low, high, data, control]) = self.entry(index) else { return };
        let pair = Pair { address: u64::from(high) << 32 | u64::from(low), data };
        match self.wrong {
            Some(Wrong::ForeignPair) if control & MASK == 0 => {
                self.lines.signal_of_another(self.device, pair);
            }
            Some(Wrong::AbsentPair) if control & MASK == 0 => {
                self.lines.signal_for_nobody(self.device, pair);
            }
            Some(Wrong::TableKept) => {
                let places = (u64::from(index) * ENTRY..).step_by(4);
                self.seen().words.extend(places.zip(words));
            }
            _ => {}
        }
    }
}

impl FunctionRegisters for WrongRegisters {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.registers.config_read(offset, data);
        if self.wrong == Some(Wrong::MsiLeftEnabled) {
            if let Some(byte) = self.byte_of(MSI, MSI_CONTROL, offset, data) {
                *byte |= self.seen().msi & MSI_ENABLE;
            }
        }
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        let mut data = data.to_vec();
        match self.wrong {
            Some(Wrong::MsiLeftEnabled) => {
                if let Some(byte) = self.byte_of(MSI, MSI_CONTROL, offset, &mut data) {
                    self.seen().msi = *byte;
                }
            }
            Some(Wrong::EnableIgnored) => {
                if let Some(byte) = self.byte_of(MSIX, MSIX_CONTROL, offset, &mut data) {
                    let mut seen = self.seen();
                    *byte |= seen.msix & MSIX_ENABLE;
                    seen.msix = *byte;
                }
            }
            Some(Wrong::FunctionMaskIgnored) => {
                if let Some(byte) = self.byte_of(MSIX, MSIX_CONTROL, offset, &mut data) {
                    *byte &= !FUNCTION_MASK;
                }
            }
            _ => {}
        }
        self.registers.config_write(offset, &data);
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        self.registers.bar_read(bar, offset, data);
        if bar == TABLE_BAR {
            if let (Some(word), Ok(data)) = (self.seen().words.get(&offset), data.try_into()) {
                let data: &mut [u8; 4] = data;
                *data = word.to_le_bytes();
            }
        }
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        let word = data.try_into().map(u32::from_le_bytes).ok();
        match (bar, word) {
            (REGISTERS_BAR, Some(index)) if offset == RAISE => self.raised(index),
            (TABLE_BAR, Some(word)) => {
                self.seen().words.remove(&offset);
                if self.wrong == Some(Wrong::TrappedMaskIgnored) && offset % ENTRY == VECTOR_CONTROL {
                    return self.registers.bar_write(bar, offset, &(word & !MASK).to_le_bytes());
                }
            }
            _ => {}
        }
        self.registers.bar_write(bar, offset, data);
    }
}
