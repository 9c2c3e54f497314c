//! A PCI function for tests of the machine: BAR0 is one trapped page of registers, BAR2 a page that is mapped, BAR4 as
//! large as the user says, where each read answers with the number of its page.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::function::{BarMapper, EmulatedFunction, FunctionModel, GuestAccess, MappedPart, PciFunction};
use pvir_host::pci::{BarSpec, Identity};
use vm_memory::MmapRegion;

use crate::memory_size::MemorySize;

const PAGE: u64 = 4096;
const IDENTITY: Identity = Identity::new(0x7670, 0x0001);
const REGISTERS_BAR: u8 = 0;
const MAPPED_BAR: u8 = 2;
const LARGE_BAR: u8 = 4;

/// The device. Its registers keep what is written to them.
struct Scratch {
    registers: Mutex<[u8; 4096]>,
    mapped: Arc<MmapRegion>,
}

/// A scratch device at `id`.
pub(crate) fn function(
    id: DeviceId,
    large: Option<MemorySize>,
    mapper: Arc<dyn BarMapper>,
) -> Result<Arc<PciFunction>> {
    let mapped = MmapRegion::new(4096).context("cannot allocate the scratch device's page")?;
    let scratch = Scratch { registers: Mutex::new([0; 4096]), mapped: Arc::new(mapped) };
    let function = EmulatedFunction::new(id, "scratch", IDENTITY, Arc::new(scratch))
        .with_bar(REGISTERS_BAR, BarSpec::memory32(PAGE))
        .with_bar(MAPPED_BAR, BarSpec::memory64(PAGE).with_prefetchable(true));
    let function = match large {
        Some(size) => function.with_bar(LARGE_BAR, BarSpec::memory64(size.bytes())),
        None => function,
    };
    function.finish(mapper).context("scratch device")
}

impl FunctionModel for Scratch {
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        if bar == LARGE_BAR {
            let number = (offset / PAGE).to_le_bytes();
            data.iter_mut().zip(number).for_each(|(byte, of_number)| *byte = of_number);
            return;
        }
        let at = usize::try_from(offset).unwrap_or(usize::MAX >> 1);
        let registers = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = registers.get(at..at + data.len()) {
            data.copy_from_slice(bytes);
        }
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        if bar == LARGE_BAR {
            return;
        }
        let at = usize::try_from(offset).unwrap_or(usize::MAX >> 1);
        let mut registers = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = registers.get_mut(at..at + data.len()) {
            bytes.copy_from_slice(data);
        }
    }

    fn mapped_parts(&self, bar: u8) -> Vec<MappedPart> {
        let memory = Arc::clone(&self.mapped) as _;
        let part = MappedPart::new(0, PAGE, memory, 0, GuestAccess::ReadWrite);
        part.filter(|_| bar == MAPPED_BAR).into_iter().collect()
    }
}
