#![expect(unsafe_code, reason = "the ioctls of VFIO's groups and containers")]
//! The system calls of groups and containers (linux/vfio.h, Linux 6.12).
//!
//! `vfio-ioctls` has them too, but for files only that it has opened itself.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use vfio_bindings::bindings::vfio::{
    VFIO_API_VERSION, VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_GROUP_FLAGS_VIABLE,
    VFIO_TYPE1v2_IOMMU, vfio_group_status, vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap,
};
use vmm_sys_util::ioctl_io_nr;

// `_IO(VFIO_TYPE, VFIO_BASE + n)`.
ioctl_io_nr!(VFIO_GET_API_VERSION, 0x3b, 100);
ioctl_io_nr!(VFIO_SET_IOMMU, 0x3b, 102);
ioctl_io_nr!(VFIO_GROUP_GET_STATUS, 0x3b, 103);
ioctl_io_nr!(VFIO_GROUP_SET_CONTAINER, 0x3b, 104);
ioctl_io_nr!(VFIO_GROUP_UNSET_CONTAINER, 0x3b, 105);
ioctl_io_nr!(VFIO_GROUP_GET_DEVICE_FD, 0x3b, 106);
ioctl_io_nr!(VFIO_IOMMU_MAP_DMA, 0x3b, 113);
ioctl_io_nr!(VFIO_IOMMU_UNMAP_DMA, 0x3b, 114);

fn outcome(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The length of a request, as the kernel wants it in `argsz`.
#[expect(clippy::cast_possible_truncation, reason = "the requests have some 32 bytes")]
const fn length<T>() -> u32 {
    size_of::<T>() as u32
}

/// Whether the file is a container with the API that this library knows.
pub(super) fn is_container(file: &File) -> io::Result<bool> {
    // SAFETY: it has no argument.
    let version = outcome(unsafe { libc::ioctl(file.as_raw_fd(), VFIO_GET_API_VERSION(), 0) })?;
    Ok(version.cast_unsigned() == VFIO_API_VERSION)
}

/// Gives the container its IOMMU.
pub(super) fn set_iommu(container: RawFd) -> io::Result<()> {
    // SAFETY: the argument is a number.
    outcome(unsafe { libc::ioctl(container, VFIO_SET_IOMMU(), libc::c_ulong::from(VFIO_TYPE1v2_IOMMU)) })
        .map(|_| ())
}

/// Whether no device of the group is in use by a driver of the host.
pub(super) fn is_viable(group: &File) -> io::Result<bool> {
    let mut status = vfio_group_status { argsz: length::<vfio_group_status>(), flags: 0 };
    // SAFETY: the kernel reads and writes at most `argsz` bytes at this address, which the request has.
    outcome(unsafe { libc::ioctl(group.as_raw_fd(), VFIO_GROUP_GET_STATUS(), &raw mut status) })?;
    Ok(status.flags & VFIO_GROUP_FLAGS_VIABLE != 0)
}

/// Puts the group into the container.
pub(super) fn set_container(group: &File, container: RawFd) -> io::Result<()> {
    // SAFETY: the kernel reads a descriptor's number at this address, which is one.
    outcome(unsafe { libc::ioctl(group.as_raw_fd(), VFIO_GROUP_SET_CONTAINER(), &raw const container) })
        .map(|_| ())
}

/// Takes the group out of its container.
pub(super) fn unset_container(group: &File) -> io::Result<()> {
    // SAFETY: it has no argument.
    outcome(unsafe { libc::ioctl(group.as_raw_fd(), VFIO_GROUP_UNSET_CONTAINER(), 0) }).map(|_| ())
}

/// The group's device of this name.
pub(super) fn device_of(group: &File, name: &CStr) -> io::Result<File> {
    // SAFETY: the kernel reads a string that ends in a zero byte.
    let number =
        outcome(unsafe { libc::ioctl(group.as_raw_fd(), VFIO_GROUP_GET_DEVICE_FD(), name.as_ptr()) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(number) })
}

/// Maps `len` bytes of this process at `iova`.
///
/// # Safety
/// As for `vfio_dma_map` of `vfio_ioctls::VfioOps`: until it is unmapped, devices write to the memory.
pub(super) unsafe fn map(container: &File, iova: u64, len: u64, address: *mut u8) -> io::Result<()> {
    let request = vfio_iommu_type1_dma_map {
        argsz: length::<vfio_iommu_type1_dma_map>(),
        flags: VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        vaddr: address as u64,
        iova,
        size: len,
    };
    // SAFETY: the kernel reads `argsz` bytes at this address, which the request has. For the memory that it names the caller
    // answers.
    outcome(unsafe { libc::ioctl(container.as_raw_fd(), VFIO_IOMMU_MAP_DMA(), &raw const request) })
        .map(|_| ())
}

/// Takes a mapping away, and answers how many bytes had been mapped.
pub(super) fn unmap(container: &File, iova: u64, len: u64) -> io::Result<u64> {
    let mut request = vfio_iommu_type1_dma_unmap {
        argsz: length::<vfio_iommu_type1_dma_unmap>(),
        flags: 0,
        iova,
        size: len,
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes at most `argsz` bytes at this address, which the request has.
    outcome(unsafe { libc::ioctl(container.as_raw_fd(), VFIO_IOMMU_UNMAP_DMA(), &raw mut request) })?;
    Ok(request.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_header() {
        // What a C program prints that includes linux/vfio.h.
        assert_eq!((VFIO_SET_IOMMU(), VFIO_GROUP_GET_DEVICE_FD()), (0x3b66, 0x3b6a));
        assert_eq!((VFIO_IOMMU_MAP_DMA(), VFIO_IOMMU_UNMAP_DMA()), (0x3b71, 0x3b72));
        assert_eq!((length::<vfio_iommu_type1_dma_map>(), length::<vfio_iommu_type1_dma_unmap>()), (32, 24));
    }

    #[test]
    fn a_file_that_is_none_of_vfios_is_refused_with_errno() {
        let file = tempfile::tempfile().unwrap();
        let errno = |error: io::Error| error.raw_os_error();
        assert_eq!(is_container(&file).map_err(errno), Err(Some(libc::ENOTTY)));
        assert_eq!(is_viable(&file).map_err(errno), Err(Some(libc::ENOTTY)));
        assert_eq!(device_of(&file, c"0000:00:05.0").map(|_| ()).map_err(errno), Err(Some(libc::ENOTTY)));
    }
}
