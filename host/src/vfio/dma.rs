//! The regions of guest RAM that devices reach by DMA.

mod domain;
mod error;
#[cfg(test)]
mod tests;

pub use error::DmaError;

use super::way::VfioWay;
pub(super) use domain::{DmaDomain, GuestRegion};
use pvir_abi::GuestPhysAddr;
use std::collections::BTreeMap;
use std::io;

/// All regions of a container, mapped as long as it has devices.
#[derive(Default)]
pub(super) struct DmaTable {
    devices: usize,
    /// There were devices, and all are gone. Where something of theirs was left open, the mappings are still there.
    had_devices: bool,
    regions: BTreeMap<u64, GuestRegion>,
}

impl FromIterator<GuestRegion> for DmaTable {
    fn from_iter<I: IntoIterator<Item = GuestRegion>>(regions: I) -> Self {
        let regions = regions.into_iter().map(|region| (region.start, region)).collect();
        Self { regions, ..Self::default() }
    }
}

impl DmaTable {
    /// Whether there are devices, and so what is mapped for them.
    pub(super) fn has_devices(&self) -> bool {
        self.devices > 0
    }

    /// Adds a region.
    pub(super) fn add(&mut self, domain: &DmaDomain<'_>, mut region: GuestRegion) -> Result<(), DmaError> {
        if self.regions.values().any(|known| known.overlaps(&region)) {
            let source = io::Error::from_raw_os_error(libc::EEXIST);
            return Err(DmaError {
                operation: domain.map_name(),
                start: region.start,
                len: region.len,
                source,
            });
        }
        if self.devices > 0 {
            domain.map(&region)?;
            region.mapped = true;
        }
        self.regions.insert(region.start, region);
        Ok(())
    }

    /// Takes a region out.
    pub(super) fn remove(
        &mut self,
        domain: &DmaDomain<'_>,
        start: GuestPhysAddr,
        len: u64,
    ) -> Result<(), DmaError> {
        let Some(region) = self.regions.get(&start.0).filter(|region| region.len == len) else {
            let source = io::Error::from_raw_os_error(libc::ENOENT);
            return Err(DmaError { operation: domain.unmap_name(), start: start.0, len, source });
        };
        if region.mapped {
            domain.unmap(region)?;
        } else if self.had_devices {
            // It may still be mapped; if it is not, the kernel says so.
            let _ = domain.unmap(region);
        }
        self.regions.remove(&start.0);
        Ok(())
    }

    /// Maps whatever is not mapped, for a device that has just been opened. On failure all is as it was before.
    pub(super) fn attach(&mut self, domain: &DmaDomain<'_>) -> Result<(), DmaError> {
        let mut done = Vec::new();
        let had_devices = self.had_devices;
        for region in self.regions.values_mut().filter(|region| !region.mapped) {
            match domain.map(region) {
                // Mapped since the time of earlier devices, and by nobody but us: the region is held since then.
                Err(error) if had_devices && error.source.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) => {
                    self.undo(domain, &done);
                    return Err(error);
                }
                Ok(()) => done.push(region.start),
            }
            region.mapped = true;
        }
        self.devices += 1;
        Ok(())
    }

    /// Unmaps again what was mapped for a device that failed, and which is closed next. Without other devices the
    /// mappings go with it in any case.
    fn undo(&mut self, domain: &DmaDomain<'_>, done: &[u64]) {
        for start in done {
            let Some(region) = self.regions.get_mut(start) else { continue };
            let left = domain.unmap(region).is_err();
            region.mapped = left && self.devices > 0;
            self.had_devices |= left;
        }
    }

    /// A device is closed. The last one takes the container's IOMMU away, with all mappings. An IOAS keeps them.
    pub(super) fn detach(&mut self, way: VfioWay) {
        self.devices = self.devices.saturating_sub(1);
        if self.devices == 0 && way == VfioWay::Group {
            self.had_devices = true;
            self.regions.values_mut().for_each(|region| region.mapped = false);
        }
    }
}
