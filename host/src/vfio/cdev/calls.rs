#![expect(unsafe_code, reason = "the ioctls by which a VFIO device is given to an iommufd")]
//! The system calls of the way by a device's own file.
//!
//! `vfio-ioctls` has them too. But it leaves the file in KVM's device when BIND or ATTACH fails, and panics when it
//! cannot take it out at the end.

use crate::counters::Counters;
use iommufd_ioctls::{IommuFd, IommufdIoas};
use kvm_bindings::{KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_ADD, KVM_DEV_VFIO_FILE_DEL, kvm_device_attr};
use kvm_ioctls::DeviceFd;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{vfio_device_attach_iommufd_pt, vfio_device_bind_iommufd};
use vmm_sys_util::ioctl_io_nr;

// linux/vfio.h: `_IO(VFIO_TYPE, VFIO_BASE + 18)` and the one after it.
ioctl_io_nr!(VFIO_DEVICE_BIND_IOMMUFD, 0x3b, 118);
ioctl_io_nr!(VFIO_DEVICE_ATTACH_IOMMUFD_PT, 0x3b, 119);

/// Lengths of `struct vfio_device_bind_iommufd` and `struct vfio_device_attach_iommufd_pt` in bytes. Older kernels have
/// shorter ones and do not look at the rest, which is zero.
const BIND_SIZE: u32 = 24;
const ATTACH_SIZE: u32 = 16;
const _: () = assert!(size_of::<vfio_device_bind_iommufd>() == BIND_SIZE as usize);
const _: () = assert!(size_of::<vfio_device_attach_iommufd_pt>() == ATTACH_SIZE as usize);

/// What is asked of the kernel.
pub(in crate::vfio) trait CdevCalls {
    /// An open file of a device.
    type File;

    /// Opens the file of a device to be read and written. Nothing is taken by that.
    fn open(&self, node: &Path) -> io::Result<Self::File>;
    /// Has KVM know the device, and hold its file open. `false` if there is no KVM to tell.
    fn tell_kvm(&self, device: &Self::File) -> io::Result<bool>;
    /// Has KVM let the file go.
    fn untell_kvm(&self, device: &Self::File) -> io::Result<()>;
    /// Gives the device to the iommufd, and with it its IOMMU group.
    fn bind(&self, device: &Self::File) -> io::Result<()>;
    /// Puts the device into the IOAS. What is mapped there is pinned if it was not before.
    fn attach(&self, device: &Self::File) -> io::Result<()>;
}

/// The running kernel, with one IOAS.
pub(in crate::vfio) struct Kernel {
    pub(in crate::vfio) iommufd: Arc<IommuFd>,
    pub(in crate::vfio) ioas: Arc<IommufdIoas>,
    pub(in crate::vfio) kvm: Option<DeviceFd>,
    pub(in crate::vfio) counters: Arc<Counters>,
}

impl Kernel {
    fn set_kvm(&self, kvm: &DeviceFd, device: &File, attribute: u32) -> io::Result<()> {
        self.counters.count_ioctl("KVM_SET_DEVICE_ATTR");
        let number = device.as_raw_fd();
        let request = kvm_device_attr {
            group: KVM_DEV_VFIO_FILE,
            attr: attribute.into(),
            addr: (&raw const number) as u64,
            ..Default::default()
        };
        kvm.set_device_attr(&request).map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }
}

impl CdevCalls for Kernel {
    type File = File;

    fn open(&self, node: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(node)
    }

    fn tell_kvm(&self, device: &File) -> io::Result<bool> {
        let Some(kvm) = &self.kvm else { return Ok(false) };
        self.set_kvm(kvm, device, KVM_DEV_VFIO_FILE_ADD).map(|()| true)
    }

    fn untell_kvm(&self, device: &File) -> io::Result<()> {
        let Some(kvm) = &self.kvm else { return Ok(()) };
        self.set_kvm(kvm, device, KVM_DEV_VFIO_FILE_DEL)
    }

    fn bind(&self, device: &File) -> io::Result<()> {
        self.counters.count_ioctl("VFIO_DEVICE_BIND_IOMMUFD");
        let mut request = vfio_device_bind_iommufd {
            argsz: BIND_SIZE,
            iommufd: self.iommufd.as_raw_fd(),
            ..Default::default()
        };
        // SAFETY: the kernel reads and writes at most `argsz` bytes at this address, which the request has.
        outcome(unsafe { libc::ioctl(device.as_raw_fd(), VFIO_DEVICE_BIND_IOMMUFD(), &raw mut request) })
    }

    fn attach(&self, device: &File) -> io::Result<()> {
        self.counters.count_ioctl("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
        let mut request =
            vfio_device_attach_iommufd_pt { argsz: ATTACH_SIZE, pt_id: self.ioas.id(), ..Default::default() };
        // SAFETY: as for BIND.
        outcome(unsafe { libc::ioctl(device.as_raw_fd(), VFIO_DEVICE_ATTACH_IOMMUFD_PT(), &raw mut request) })
    }
}

fn outcome(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_header() {
        // What a C program prints that includes linux/vfio.h.
        assert_eq!((VFIO_DEVICE_BIND_IOMMUFD(), VFIO_DEVICE_ATTACH_IOMMUFD_PT()), (0x3b76, 0x3b77));
    }
}
