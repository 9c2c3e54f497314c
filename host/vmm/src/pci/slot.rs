//! A slot of the bus, with a function in it: its BARs, and whether it decodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bars::{BarKind, Bars};
use super::function::{DevFn, MappedPart, PciFunction};
use crate::vm::memory::GuestRange;
use crate::vm::slots::SlotId;

/// Config space offsets of a type 0 header.
const COMMAND: u16 = 0x04;
const BARS: std::ops::Range<u16> = 0x10..0x28;
const EXPANSION_ROM: std::ops::Range<u16> = 0x30..0x34;
/// Bits of COMMAND.
const PORT_DECODE: u16 = 1;
const MEMORY_DECODE: u16 = 2;

/// What a config write changed, so that the bus has something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigChange {
    None,
    Decoding,
}

/// The registers that the bus keeps for a function, and what is installed by them.
pub(crate) struct PciHeader {
    pub(crate) bars: Bars,
    command: u16,
    /// The range that each BAR decodes at the moment.
    pub(crate) decoded: BTreeMap<u8, GuestRange>,
    /// Mapped parts: the BAR, the guest physical address, the part, and its memory slot.
    pub(crate) mapped: Vec<(u8, u64, MappedPart, SlotId)>,
    /// Whether a failure to map or unmap was logged: a guest can repeat it without end.
    pub(crate) logged: bool,
}

/// A slot of the bus with a function in it.
pub(crate) struct PciSlot {
    devfn: DevFn,
    index: usize,
    function: Arc<dyn PciFunction>,
    header: Mutex<PciHeader>,
}

impl PciSlot {
    /// `index` is the row of the function in the counters.
    pub(crate) fn new(devfn: DevFn, index: usize, function: Arc<dyn PciFunction>, bars: Bars) -> Self {
        let header =
            PciHeader { bars, command: 0, decoded: BTreeMap::new(), mapped: Vec::new(), logged: false };
        Self { devfn, index, function, header: Mutex::new(header) }
    }

    pub(crate) fn devfn(&self) -> DevFn {
        self.devfn
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn function(&self) -> &Arc<dyn PciFunction> {
        &self.function
    }

    pub(crate) fn header(&self) -> MutexGuard<'_, PciHeader> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest reads bytes of one doubleword.
    pub(crate) fn config_read(&self, offset: u16, data: &mut [u8]) {
        if BARS.contains(&offset) {
            let bytes = self.header().bars.read(register(offset)).to_le_bytes();
            for (byte, value) in data.iter_mut().zip(bytes.iter().skip(usize::from(offset & 3))) {
                *byte = *value;
            }
        } else if EXPANSION_ROM.contains(&offset) {
            data.fill(0);
        } else {
            self.function.config_read(offset, data);
        }
    }

    /// The guest writes bytes of one doubleword.
    pub(crate) fn config_write(&self, offset: u16, data: &[u8]) -> ConfigChange {
        if BARS.contains(&offset) {
            self.header().bars.write(register(offset), usize::from(offset & 3), data);
            return ConfigChange::Decoding;
        }
        if EXPANSION_ROM.contains(&offset) {
            return ConfigChange::None;
        }
        self.function.config_write(offset, data);
        if offset & !3 != COMMAND {
            return ConfigChange::None;
        }
        let mut header = self.header();
        let mut bytes = header.command.to_le_bytes();
        for (byte, new) in bytes.iter_mut().skip(usize::from(offset & 3)).zip(data) {
            *byte = *new;
        }
        let command = u16::from_le_bytes(bytes) & (PORT_DECODE | MEMORY_DECODE);
        if command == header.command {
            return ConfigChange::None;
        }
        header.command = command;
        ConfigChange::Decoding
    }
}

impl PciHeader {
    /// Where each BAR should decode now, by what the guest has written.
    pub(crate) fn desired_ranges(&self) -> Vec<(u8, BarKind, GuestRange)> {
        let decodes = |kind| match kind {
            BarKind::Io => self.command & PORT_DECODE != 0,
            BarKind::Memory32 | BarKind::Memory64 => self.command & MEMORY_DECODE != 0,
        };
        let range_of = |(index, spec): (usize, super::bars::BarSpec)| {
            let range = GuestRange::new(self.bars.address(index)?, spec.size);
            Some((u8::try_from(index).ok()?, spec.kind, range))
        };
        self.bars.iter().filter(|(_, spec)| decodes(spec.kind)).filter_map(range_of).collect()
    }
}

fn register(offset: u16) -> usize {
    usize::from((offset - BARS.start) / 4)
}
