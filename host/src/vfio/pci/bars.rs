//! Access to a device's BARs: mapped as a whole, or read and written by VFIO.

use super::VfioPci;
use crate::mapping::RegionMap;
use crate::pci::ENTRY_LEN;
use crate::vfio::error::AttachError;
use crate::vfio::region::Region;
use std::io;

impl VfioPci {
    /// Size of BAR `bar` (0 to 5) in bytes; 0 if the device does not have it.
    #[must_use]
    pub fn bar_size(&self, bar: u8) -> u64 {
        self.bar(bar).map_or(0, |bar| bar.size)
    }

    /// Whether VFIO allows mapping the whole BAR, the MSI-X table in it included.
    #[must_use]
    pub fn is_mappable(&self, bar: u8) -> bool {
        let Some(region) = self.bar(bar) else { return false };
        let has_table = self.msix.is_some_and(|msix| msix.table_bar == bar);
        region.mappable && !region.in_parts && (region.with_table || !has_table)
    }

    /// Maps the whole BAR into this process. A mapping keeps the device open, so it has to go before this object where
    /// the group is to be given back.
    ///
    /// # Errors
    /// `Unsupported` if the BAR is not mappable, otherwise the errno of `mmap`.
    pub fn map_bar(&self, bar: u8) -> io::Result<RegionMap> {
        let region = self.bar(bar).filter(|_| self.is_mappable(bar)).ok_or(io::ErrorKind::Unsupported)?;
        let len = usize::try_from(region.size).map_err(io::Error::other)?;
        RegionMap::of_device(self.device.file(), region.offset, len)
    }

    /// Reads `data.len()` bytes of a BAR from byte `offset` on with one access of VFIO. The MSI-X table reads as all
    /// ones.
    ///
    /// # Errors
    /// `InvalidInput` for an access beyond the BAR, otherwise the errno of reading the device's descriptor.
    pub fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let at = self.inside(bar, offset, data.len())?;
        self.device.read(data, at)
    }

    /// Writes `data` to a BAR from byte `offset` on with one access of VFIO. Writes to the MSI-X table are dropped.
    ///
    /// # Errors
    /// `InvalidInput` for an access beyond the BAR, otherwise the errno of writing the device's descriptor.
    pub fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = self.inside(bar, offset, data.len())?;
        self.device.write(data, at)
    }

    /// The table and the pending bits must lie inside their BARs.
    pub(super) fn check_table(&self) -> Result<(), AttachError> {
        let Some(msix) = self.msix else { return Ok(()) };
        let table = (msix.table_bar, msix.table_offset, u64::from(msix.entries) * ENTRY_LEN);
        let pending = (msix.pba_bar, msix.pba_offset, u64::from(msix.entries.div_ceil(64)) * 8);
        for (name, (bar, offset, len)) in [("MSI-X table", table), ("pending bit array", pending)] {
            let size = self.bar_size(bar);
            if offset + len > size {
                let what = format!(
                    "the {name} ({len:#x} bytes at {offset:#x}) is not inside BAR {bar} ({size:#x} bytes)"
                );
                return Err(AttachError::Malformed { device: self.address, what });
            }
        }
        Ok(())
    }

    fn inside(&self, bar: u8, offset: u64, len: usize) -> io::Result<u64> {
        let region = self.bar(bar).ok_or(io::ErrorKind::InvalidInput)?;
        let end = offset.checked_add(len as u64).filter(|end| *end <= region.size);
        end.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(region.offset + offset)
    }

    fn bar(&self, bar: u8) -> Option<&Region> {
        self.bars.get(usize::from(bar))
    }
}
