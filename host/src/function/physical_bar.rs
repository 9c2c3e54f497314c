//! A BAR of a host device: what it is, and what trapped accesses to it do.

use super::error::FunctionError;
use super::mapper::{GuestAccess, MappedPart};
use super::physical::PhysicalFunction;
use super::stores::TrappedStores;
use super::structures::Structures;
use crate::mapping::{HostMemory, RegionMap};
use crate::pci::{BarKind, BarSpec};
use crate::trapped::StoreArea;
use std::sync::Arc;

/// One memory BAR. BARs of ports are left out: whatever has one has the same registers in memory, and its decode of
/// ports would have to be switched on in the host's bridges.
pub(super) struct Bar {
    index: u8,
    spec: BarSpec,
    structures: Structures,
    /// The BAR mapped into this process, if VFIO lets it be mapped.
    region: Option<Arc<RegionMap>>,
}

impl Bar {
    /// All memory BARs of a device.
    pub(super) fn all(pci: &dyn PhysicalFunction) -> Result<Vec<Self>, FunctionError> {
        let mut bars = Vec::new();
        let mut index = 0;
        while index < 6 {
            let bar = Self::new(pci, index)?;
            let wide = bar.as_ref().is_some_and(|bar| bar.spec.kind() == BarKind::Memory64);
            bars.extend(bar);
            index += if wide { 2 } else { 1 };
        }
        Ok(bars)
    }

    fn new(pci: &dyn PhysicalFunction, index: u8) -> Result<Option<Self>, FunctionError> {
        let size = pci.bar_size(index);
        if size == 0 {
            return Ok(None);
        }
        let failed = |source| FunctionError::Device {
            device: pci.address(),
            operation: format!("cannot access BAR{index} by VFIO"),
            source,
        };
        let mut register = [0; 4];
        pci.config_read(0x10 + 4 * u64::from(index), &mut register).map_err(failed)?;
        let Some(spec) = BarSpec::of_memory(u32::from_le_bytes(register), size) else {
            tracing::debug!(device = %pci.address(), index, "a BAR of ports is left out");
            return Ok(None);
        };
        let region = pci.map_bar(index).map_err(failed)?.map(Arc::new);
        Ok(Some(Self { index, spec, structures: Structures::of(index, pci.msix()), region }))
    }

    pub(super) fn index(&self) -> u8 {
        self.index
    }

    pub(super) fn spec(&self) -> BarSpec {
        self.spec
    }

    /// The parts of the BAR that the guest reaches without exits; none of one that is not whole pages.
    pub(super) fn mapped_parts(&self, open: bool) -> Vec<MappedPart> {
        let Some(region) = &self.region else { return Vec::new() };
        let part = |part: std::ops::Range<u64>| {
            let memory = Arc::clone(region) as Arc<dyn HostMemory>;
            MappedPart::new(part.start, part.end - part.start, memory, part.start, GuestAccess::ReadWrite)
        };
        self.structures.mapped(self.spec.size(), open).into_iter().filter_map(part).collect()
    }

    /// Serves a read that exited.
    pub(super) fn read(
        &self,
        pci: &dyn PhysicalFunction,
        stores: Option<&TrappedStores>,
        offset: u64,
        data: &mut [u8],
    ) {
        for part in self.structures.parts(offset, data.len()) {
            let Some(bytes) = data.get_mut(part.bytes) else { return };
            match (part.structure, stores) {
                (Some((area, at)), Some(stores)) => {
                    let direct = |bytes: &mut [u8]| match &self.region {
                        Some(region) => region.read_bytes(part.offset, bytes),
                        None => bytes.fill(0xff),
                    };
                    stores.read(area, at, bytes, direct);
                }
                (Some(_), None) => bytes.fill(0xff),
                (None, _) => {
                    if let Err(error) = pci.bar_read(self.index, part.offset, bytes) {
                        tracing::debug!(device = %pci.address(), bar = self.index, offset, "read: {error}");
                        bytes.fill(0xff);
                    }
                }
            }
        }
    }

    /// Serves a write that exited.
    pub(super) fn write(
        &self,
        pci: &dyn PhysicalFunction,
        stores: Option<&TrappedStores>,
        offset: u64,
        data: &[u8],
    ) {
        for part in self.structures.parts(offset, data.len()) {
            let Some(bytes) = data.get(part.bytes) else { return };
            match (part.structure, stores) {
                // Nobody writes the pending bits but the device.
                (Some((StoreArea::PendingBits, _)), _) | (Some(_), None) => {}
                (Some((area, at)), Some(stores)) => stores.write(area, at, bytes, |bytes| {
                    if let Some(region) = &self.region {
                        region.write_words(part.offset, bytes);
                    }
                }),
                (None, _) => {
                    if let Err(error) = pci.bar_write(self.index, part.offset, bytes) {
                        tracing::debug!(device = %pci.address(), bar = self.index, offset, "write: {error}");
                    }
                }
            }
        }
    }
}
