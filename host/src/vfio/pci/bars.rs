//! Access to a device's BARs: mapped as a whole, or read and written by VFIO.

use super::VfioPci;
use crate::mapping::RegionMap;
use std::io;
use std::os::unix::fs::FileExt;
use vfio_bindings::bindings::vfio::VFIO_REGION_INFO_FLAG_MMAP;
use vfio_ioctls::VfioRegionInfoCap;

impl VfioPci {
    /// Size of BAR `bar` (0 to 5) in bytes; 0 if the device does not have it.
    #[must_use]
    pub fn bar_size(&self, bar: u8) -> u64 {
        if bar < 6 { self.inner.get_region_size(u32::from(bar)) } else { 0 }
    }

    /// Whether VFIO allows mapping the whole BAR, the MSI-X table in it included.
    #[must_use]
    pub fn is_mappable(&self, bar: u8) -> bool {
        let index = u32::from(bar);
        if bar >= 6 || self.inner.get_region_flags(index) & VFIO_REGION_INFO_FLAG_MMAP == 0 {
            return false;
        }
        let capabilities = self.inner.get_region_caps(index);
        let has_table = self.msix.is_some_and(|msix| msix.table_bar == bar);
        let table_too = capabilities.iter().any(|c| matches!(c, VfioRegionInfoCap::MsixMappable));
        let in_parts = capabilities.iter().any(|c| matches!(c, VfioRegionInfoCap::SparseMmap(_)));
        !in_parts && (table_too || !has_table)
    }

    /// Maps the whole BAR into this process.
    ///
    /// # Errors
    /// `Unsupported` if the BAR is not mappable, otherwise the errno of `mmap`.
    pub fn map_bar(&self, bar: u8) -> io::Result<RegionMap> {
        if !self.is_mappable(bar) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let len = usize::try_from(self.bar_size(bar)).map_err(io::Error::other)?;
        RegionMap::new(&self.file, self.inner.get_region_offset(u32::from(bar)), len)
    }

    /// Reads `data.len()` bytes of a BAR from byte `offset` on with one access of VFIO. The MSI-X table reads as all
    /// ones.
    ///
    /// # Errors
    /// `InvalidInput` for an access beyond the BAR, otherwise the errno of reading the device's descriptor.
    pub fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let at = self.inside(bar, offset, data.len())?;
        self.file.read_exact_at(data, at)
    }

    /// Writes `data` to a BAR from byte `offset` on with one access of VFIO. Writes to the MSI-X table are dropped.
    ///
    /// # Errors
    /// `InvalidInput` for an access beyond the BAR, otherwise the errno of writing the device's descriptor.
    pub fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = self.inside(bar, offset, data.len())?;
        self.file.write_all_at(data, at)
    }

    fn inside(&self, bar: u8, offset: u64, len: usize) -> io::Result<u64> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.bar_size(bar));
        end.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.inner.get_region_offset(u32::from(bar)) + offset)
    }
}
