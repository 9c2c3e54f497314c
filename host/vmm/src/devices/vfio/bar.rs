//! The BARs of a host device: what they are, and what trapped accesses to them do.

use std::sync::Arc;

use anyhow::{Context, Result};
use pvir_host::mapping::RegionMap;
use pvir_host::trapped::StoreArea;
use pvir_host::vfio::VfioPci;

use super::layout::Structures;
use crate::devices::region;
use crate::devices::trapped::TrappedStores;
use crate::pci::bars::{BarKind, BarSpec};
use crate::pci::function::MappedPart;
use crate::vm::slots::{HostMemory, SlotAccess};

const PAGE: u64 = 4096;

/// One memory BAR. BARs of ports are left out: whatever has one has the same registers in memory, and its decode of
/// ports would have to be switched on in the host's bridges.
pub(crate) struct Bar {
    index: u8,
    spec: BarSpec,
    structures: Structures,
    /// The BAR mapped into this process, if VFIO lets it be mapped.
    region: Option<Arc<RegionMap>>,
}

impl Bar {
    /// All memory BARs of a device.
    pub(crate) fn all(pci: &VfioPci) -> Result<[Option<Self>; 6]> {
        let mut bars = [const { None }; 6];
        let mut index = 0;
        while index < 6 {
            let bar = Self::new(pci, index)?;
            let wide = bar.as_ref().is_some_and(|bar| bar.spec.kind == BarKind::Memory64);
            bars[usize::from(index)] = bar;
            index += if wide { 2 } else { 1 };
        }
        Ok(bars)
    }

    fn new(pci: &VfioPci, index: u8) -> Result<Option<Self>> {
        let size = pci.bar_size(index);
        if size == 0 {
            return Ok(None);
        }
        let mut register = [0; 4];
        let failed = || format!("{}: cannot access BAR{index} by VFIO", pci.address());
        pci.config_read(0x10 + 4 * u64::from(index), &mut register).with_context(failed)?;
        let Some(spec) = spec(u32::from_le_bytes(register), size) else {
            tracing::debug!(device = %pci.address(), index, "a BAR of ports is left out");
            return Ok(None);
        };
        let region = if pci.is_mappable(index) {
            Some(Arc::new(pci.map_bar(index).with_context(failed)?))
        } else {
            None
        };
        Ok(Some(Self { index, spec, structures: Structures::of(index, pci.msix()), region }))
    }

    pub(crate) fn spec(&self) -> BarSpec {
        self.spec
    }

    /// The parts of the BAR that the guest reaches without exits.
    pub(crate) fn mapped_parts(&self, open: bool) -> Vec<MappedPart> {
        let Some(region) = self.region.as_ref().filter(|_| self.spec.size % PAGE == 0) else {
            return Vec::new();
        };
        let memory = |part: std::ops::Range<u64>| MappedPart {
            offset: part.start,
            size: part.end - part.start,
            memory: Arc::clone(region) as Arc<dyn HostMemory>,
            memory_offset: part.start,
            access: SlotAccess::ReadWrite,
        };
        self.structures.mapped(self.spec.size, open).into_iter().map(memory).collect()
    }

    /// Serves a read that exited.
    pub(crate) fn read(&self, device: &TrappedAccess<'_>, offset: u64, data: &mut [u8]) {
        let (head, tail) = data.split_at_mut(Self::split(offset, data.len()));
        if !tail.is_empty() {
            self.read(device, offset + head.len() as u64, tail);
        }
        match self.structures.find(offset) {
            Some((place, at)) => device.stores.read(place, at, head, |bytes| match &self.region {
                Some(region) => region::read(region, offset, bytes),
                None => bytes.fill(0xff),
            }),
            None => {
                if let Err(error) = device.pci.bar_read(self.index, offset, head) {
                    tracing::debug!(device = %device.pci.address(), bar = self.index, offset, "read: {error}");
                    head.fill(0xff);
                }
            }
        }
    }

    /// Serves a write that exited.
    pub(crate) fn write(&self, device: &TrappedAccess<'_>, offset: u64, data: &[u8]) {
        let (head, tail) = data.split_at(Self::split(offset, data.len()));
        match self.structures.find(offset) {
            // Nobody writes the pending bits but the device.
            Some((StoreArea::PendingBits, _)) => {}
            Some((place, at)) => device.stores.write(place, at, head, |bytes| {
                if let Some(region) = &self.region {
                    region::write(region, offset, bytes);
                }
            }),
            None => {
                if let Err(error) = device.pci.bar_write(self.index, offset, head) {
                    tracing::debug!(device = %device.pci.address(), bar = self.index, offset, "write: {error}");
                }
            }
        }
        if !tail.is_empty() {
            self.write(device, offset + head.len() as u64, tail);
        }
    }

    /// How much of an access is inside or outside of the MSI-X structures as a whole: these start and end at
    /// multiples of 8.
    fn split(offset: u64, len: usize) -> usize {
        len.min(8 - usize::from(offset.to_le_bytes()[0] % 8))
    }
}

/// What a trapped access acts on.
pub(crate) struct TrappedAccess<'a> {
    pub(crate) pci: &'a VfioPci,
    pub(crate) stores: &'a TrappedStores,
}

/// The BAR that the guest sees, by the register of the physical one; `None` for ports.
fn spec(register: u32, size: u64) -> Option<BarSpec> {
    if register & 1 != 0 {
        return None;
    }
    let kind = if register >> 1 & 3 == 2 { BarKind::Memory64 } else { BarKind::Memory32 };
    // The smallest that a memory BAR can be; what is behind its end reads as ones.
    Some(BarSpec { kind, size: size.max(16), prefetchable: register & 8 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_of_the_physical_bars() {
        let memory = |kind, prefetchable| Some(BarSpec { kind, size: 0x1000, prefetchable });
        assert_eq!(spec(0xfeb0_0000, 0x1000), memory(BarKind::Memory32, false));
        assert_eq!(spec(0xfeb0_000c, 0x1000), memory(BarKind::Memory64, true));
        assert_eq!(spec(0xfeb0_0008, 0x1000), memory(BarKind::Memory32, true));
        assert_eq!(spec(0xc001, 32), None);
    }
}
