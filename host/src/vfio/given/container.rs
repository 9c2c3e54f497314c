#![expect(unsafe_code, reason = "guest RAM is given to devices for DMA")]
//! A container of VFIO that somebody else has opened.

use super::calls;
use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use vfio_ioctls::{VfioError, VfioOps};
use vmm_sys_util::errno::Error as Errno;

/// An open file of `/dev/vfio/vfio`.
pub(in crate::vfio) struct GivenContainer(File);

impl GivenContainer {
    /// # Errors
    /// If the file is none of VFIO's containers, or has another version of its API.
    pub(in crate::vfio) fn new(file: File) -> Result<Self, VfioError> {
        if calls::is_container(&file).map_err(VfioError::OpenContainer)? {
            Ok(Self(file))
        } else {
            Err(VfioError::VfioApiVersion)
        }
    }
}

impl AsRawFd for GivenContainer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::new(error.raw_os_error().unwrap_or(libc::EINVAL))
}

impl VfioOps for GivenContainer {
    unsafe fn vfio_dma_map(&self, iova: u64, size: usize, user_addr: *mut u8) -> Result<(), VfioError> {
        // SAFETY: the caller upholds what the trait wants.
        let mapped = unsafe { calls::map(&self.0, iova, size as u64, user_addr) };
        mapped.map_err(|error| VfioError::IommuDmaMap(errno(&error)))
    }

    fn vfio_dma_unmap(&self, iova: u64, size: usize) -> Result<(), VfioError> {
        match calls::unmap(&self.0, iova, size as u64) {
            Ok(unmapped) if unmapped == size as u64 => Ok(()),
            Ok(_) => Err(VfioError::InvalidDmaUnmapSize),
            Err(error) => Err(VfioError::IommuDmaUnmap(errno(&error))),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
