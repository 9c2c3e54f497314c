//! A PCI function for tests of the machine: BAR0 is one trapped page of registers, BAR2 a page that is mapped.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use vm_memory::MmapRegion;

use crate::pci::bars::{BarKind, BarSpec};
use crate::pci::function::{MappedPart, PciFunction};
use crate::vm::slots::SlotAccess;

const PAGE: u64 = 4096;
const ID: u32 = 0x0001_7670;
/// Class ff: no class.
const CLASS: u32 = 0xff00_0000;

/// The function. Config space beyond its identity and its BAR0 keep what is written to them.
pub(crate) struct Scratch {
    config: Mutex<[u8; 256]>,
    registers: Mutex<[u8; 4096]>,
    mapped: Arc<MmapRegion>,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let mut config = [0; 256];
        config[..4].copy_from_slice(&ID.to_le_bytes());
        config[8..12].copy_from_slice(&CLASS.to_le_bytes());
        let mapped = MmapRegion::new(4096).context("cannot allocate the scratch device's page")?;
        Ok(Self { config: Mutex::new(config), registers: Mutex::new([0; 4096]), mapped: Arc::new(mapped) })
    }
}

fn copy_out(from: &[u8], at: usize, data: &mut [u8]) {
    if let Some(bytes) = from.get(at..at + data.len()) {
        data.copy_from_slice(bytes);
    }
}

fn copy_in(to: &mut [u8], at: usize, data: &[u8]) {
    if let Some(bytes) = to.get_mut(at..at + data.len()) {
        bytes.copy_from_slice(data);
    }
}

impl PciFunction for Scratch {
    fn name(&self) -> String {
        "scratch".to_owned()
    }

    fn bars(&self) -> [Option<BarSpec>; 6] {
        let trapped = BarSpec { kind: BarKind::Memory32, size: PAGE, prefetchable: false };
        let mapped = BarSpec { kind: BarKind::Memory64, size: PAGE, prefetchable: true };
        [Some(trapped), None, Some(mapped), None, None, None]
    }

    fn config_read(&self, offset: u16, data: &mut [u8]) {
        copy_out(&*self.config.lock().unwrap_or_else(PoisonError::into_inner), offset.into(), data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        // COMMAND, and what is behind the header.
        if (4..6).contains(&offset) || offset >= 0x40 {
            copy_in(&mut *self.config.lock().unwrap_or_else(PoisonError::into_inner), offset.into(), data);
        }
    }

    fn bar_read(&self, _bar: u8, offset: u64, data: &mut [u8]) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX >> 1);
        copy_out(&*self.registers.lock().unwrap_or_else(PoisonError::into_inner), at, data);
    }

    fn bar_write(&self, _bar: u8, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX >> 1);
        copy_in(&mut *self.registers.lock().unwrap_or_else(PoisonError::into_inner), at, data);
    }

    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        if bar != 2 {
            return Vec::new();
        }
        let memory = Arc::clone(&self.mapped);
        vec![MappedPart { offset: 0, size: PAGE, memory, memory_offset: 0, access: SlotAccess::ReadWrite }]
    }
}
