#![expect(unsafe_code, reason = "the ioctls by which an open VFIO device describes itself")]
//! An open VFIO device: what it says of itself, through its descriptor alone.
//!
//! Whoever opened it, and in whichever way (group and container, or character device and iommufd), the descriptor
//! answers the same ioctls. So nothing here depends on how, or with which crate, a VMM opens its devices.

use super::region::{REGION_INFO_WORDS, Region};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use vfio_bindings::bindings::vfio::{vfio_device_info, vfio_irq_info};
use vfio_ioctls::VfioDevice;
use vmm_sys_util::ioctl_io_nr;

// linux/vfio.h: `_IO(VFIO_TYPE, VFIO_BASE + 7)` and the two after it.
ioctl_io_nr!(VFIO_DEVICE_GET_INFO, 0x3b, 107);
ioctl_io_nr!(VFIO_DEVICE_GET_REGION_INFO, 0x3b, 108);
ioctl_io_nr!(VFIO_DEVICE_GET_IRQ_INFO, 0x3b, 109);
// `VFIO_BASE + 11`.
ioctl_io_nr!(VFIO_DEVICE_RESET, 0x3b, 111);
// `VFIO_BASE + 12` and the one after it.
ioctl_io_nr!(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, 0x3b, 112);
ioctl_io_nr!(VFIO_DEVICE_PCI_HOT_RESET, 0x3b, 113);

/// The most that the description of a region may be long, in 32-bit words: a page. The kernel's have some dozen words.
const LONGEST: usize = 1024;

/// Length of the head of `struct vfio_pci_hot_reset_info` in 32-bit words: length, flags, number of devices. And of
/// `struct vfio_pci_hot_reset` without descriptors.
pub(crate) const HOT_RESET_HEAD: usize = 3;
/// Length of each device behind it (`struct vfio_pci_dependent_device`).
pub(crate) const HOT_RESET_DEVICE: usize = 2;

/// What a device is (`struct vfio_device_info`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceInfo {
    /// Bits `VFIO_DEVICE_FLAGS_*`.
    pub(crate) flags: u32,
    /// Number of regions.
    pub(crate) regions: u32,
    /// Number of kinds of interrupts.
    pub(crate) irqs: u32,
}

/// The descriptor of an open VFIO device.
#[derive(Debug)]
pub(crate) struct Descriptor(File);

impl Descriptor {
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    /// What kind of device it is.
    pub(crate) fn device_info(&self) -> io::Result<DeviceInfo> {
        let mut words = [0; 5];
        self.ask(VFIO_DEVICE_GET_INFO(), &mut words)?;
        let [_, flags, regions, irqs, _] = words;
        Ok(DeviceInfo { flags, regions, irqs })
    }

    /// The region of this index, with its capabilities. The kernel says how long these are, and is asked again.
    pub(crate) fn region(&self, index: u32) -> io::Result<Region> {
        let mut words = vec![0; REGION_INFO_WORDS];
        words[2] = index;
        self.ask(VFIO_DEVICE_GET_REGION_INFO(), &mut words)?;
        let needed = (words[0] as usize).div_ceil(4);
        if needed > words.len() {
            if needed > LONGEST {
                let what = format!("the description of region {index} has {needed} words");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            words = vec![0; needed];
            words[2] = index;
            self.ask(VFIO_DEVICE_GET_REGION_INFO(), &mut words)?;
        }
        Ok(Region::parse(&words))
    }

    /// Flags of the kind of interrupt of this index, bits `VFIO_IRQ_INFO_*`.
    pub(crate) fn irq_flags(&self, index: u32) -> io::Result<u32> {
        let mut words = [0; 4];
        words[2] = index;
        self.ask(VFIO_DEVICE_GET_IRQ_INFO(), &mut words)?;
        Ok(words[1])
    }

    /// What a hot reset reaches (`struct vfio_pci_hot_reset_info`), in 32-bit words. The kernel says how many devices there
    /// are, and is asked again.
    pub(crate) fn hot_reset_info(&self) -> io::Result<Vec<u32>> {
        let mut words = vec![0; HOT_RESET_HEAD];
        match self.ask(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO(), &mut words) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {}
            other => return other.map(|()| words),
        }
        let needed = HOT_RESET_HEAD.saturating_add((words[2] as usize).saturating_mul(HOT_RESET_DEVICE));
        if needed > LONGEST {
            let what = format!("a hot reset reaches {} devices", words[2]);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        words = vec![0; needed];
        self.ask(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO(), &mut words)?;
        Ok(words)
    }

    /// A hot reset without descriptors of groups: the device belongs to an iommufd, and so do all that it reaches.
    pub(crate) fn hot_reset(&self) -> io::Result<()> {
        // Length, flags, and the number of descriptors.
        self.ask(VFIO_DEVICE_PCI_HOT_RESET(), &mut [0; HOT_RESET_HEAD])
    }

    /// One question of the form that all of VFIO's have: the caller says in the first word how many bytes there are.
    fn ask(&self, request: libc::c_ulong, words: &mut [u32]) -> io::Result<()> {
        words[0] = u32::try_from(size_of_val(words)).map_err(io::Error::other)?;
        // SAFETY: the requests read and write at most as many bytes at this address as the first word says, and
        // that is the length of `words`. Any bits are valid in it.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, words.as_mut_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Resets the device.
    pub(crate) fn reset(&self) -> io::Result<()> {
        // SAFETY: the request takes no argument.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), VFIO_DEVICE_RESET()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads bytes of the device's address space for `pread`, in which its regions lie.
    pub(crate) fn read(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(data, offset)
    }

    /// Writes bytes there.
    pub(crate) fn write(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    /// The file, to map regions of it.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// The descriptor of a device that `vfio-ioctls` has opened.
pub(crate) fn borrow(device: &VfioDevice) -> BorrowedFd<'_> {
    // SAFETY: `device` keeps the descriptor open as long as it lives, and the result does not outlive the borrow.
    unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) }
}

// The words as they are numbered above.
const _: () = assert!(size_of::<vfio_device_info>() >= 5 * 4 && size_of::<vfio_irq_info>() == 4 * 4);
const _: () = assert!(std::mem::offset_of!(vfio_device_info, num_regions) == 8);
const _: () = assert!(std::mem::offset_of!(vfio_device_info, num_irqs) == 12);
const _: () = assert!(std::mem::offset_of!(vfio_irq_info, flags) == 4);
const _: () = assert!(std::mem::offset_of!(vfio_irq_info, index) == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_vfio_device_says_so_with_errno() {
        let descriptor = Descriptor::new(tempfile::tempfile().unwrap());
        assert_eq!(descriptor.device_info().unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(descriptor.region(0).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(descriptor.irq_flags(2).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(descriptor.reset().unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(descriptor.hot_reset_info().unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(descriptor.hot_reset().unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
