#![expect(unsafe_code, reason = "guest RAM is given to devices for DMA")]
//! One region of guest RAM, and the IOMMU domain where it is mapped.

use super::DmaError;
use crate::counters::Counters;
use crate::vfio::way::VfioWay;
use std::error::Error;
use std::io;
use std::sync::Arc;
use vfio_ioctls::{VfioError, VfioOps};
use vm_memory::bitmap::Bitmap;
use vm_memory::{Address, GuestMemoryRegion, GuestRegionMmap, MmapRegion};
use vmm_sys_util::errno::Error as Errno;

/// Memory that is mapped in this process as long as the object lives.
trait Backing: Send + Sync {
    fn host_address(&self) -> *mut u8;
}

impl<B: Bitmap + Send + Sync> Backing for MmapRegion<B> {
    fn host_address(&self) -> *mut u8 {
        self.as_ptr()
    }
}

/// A region of guest RAM.
pub(in crate::vfio) struct GuestRegion {
    pub(super) start: u64,
    pub(super) len: u64,
    /// Devices write to it as long as it is mapped for them.
    memory: Arc<dyn Backing>,
    pub(super) mapped: bool,
}

impl GuestRegion {
    pub(in crate::vfio) fn new<B: Bitmap + Send + Sync + 'static>(region: &GuestRegionMmap<B>) -> Self {
        let (start, len) = (region.start_addr().raw_value(), region.len());
        Self { start, len, memory: region.get_mmap(), mapped: false }
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.start < other.start.saturating_add(other.len)
            && other.start < self.start.saturating_add(self.len)
    }
}

/// Where mappings are made.
pub(in crate::vfio) struct DmaDomain<'a> {
    pub(in crate::vfio) ops: &'a dyn VfioOps,
    pub(in crate::vfio) way: VfioWay,
    pub(in crate::vfio) counters: &'a Counters,
}

impl DmaDomain<'_> {
    /// The ioctl that maps.
    pub(super) fn map_name(&self) -> &'static str {
        match self.way {
            VfioWay::Group => "VFIO_IOMMU_MAP_DMA",
            VfioWay::Cdev => "IOMMU_IOAS_MAP",
        }
    }

    /// The ioctl that takes a mapping away.
    pub(super) fn unmap_name(&self) -> &'static str {
        match self.way {
            VfioWay::Group => "VFIO_IOMMU_UNMAP_DMA",
            VfioWay::Cdev => "IOMMU_IOAS_UNMAP",
        }
    }

    pub(super) fn map(&self, region: &GuestRegion) -> Result<(), DmaError> {
        let failed =
            |source| DmaError { operation: self.map_name(), start: region.start, len: region.len, source };
        let len = usize::try_from(region.len).map_err(|error| failed(io::Error::other(error)))?;
        self.counters.count_ioctl(self.map_name());
        // SAFETY: the memory stays mapped in this process as long as `region.memory`, which the table holds until it
        // has unmapped the region or no device is left; the kernel pins the pages as long as it has the mapping. And
        // vm-memory gives access to the memory by volatile copies only, never by reference.
        let mapped = unsafe { self.ops.vfio_dma_map(region.start, len, region.memory.host_address()) };
        mapped.map_err(|error| failed(errno(error)))
    }

    pub(super) fn unmap(&self, region: &GuestRegion) -> Result<(), DmaError> {
        let failed =
            |source| DmaError { operation: self.unmap_name(), start: region.start, len: region.len, source };
        let len = usize::try_from(region.len).map_err(|error| failed(io::Error::other(error)))?;
        self.counters.count_ioctl(self.unmap_name());
        self.ops.vfio_dma_unmap(region.start, len).map_err(|error| failed(errno(error)))
    }
}

/// The error of the ioctl itself, wherever `vfio-ioctls` has kept it.
fn errno(error: VfioError) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(known) = cause {
        if let Some(errno) = known.downcast_ref::<Errno>() {
            return (*errno).into();
        }
        cause = known.source();
    }
    io::Error::other(error)
}
