#![expect(unsafe_code, reason = "VFIO_DEVICE_FEATURE with the data of a feature that no crate knows")]
//! A device's messages as the kernel returns them, by a feature of VFIO that is proposed and not merged
//! (`docs/kernel/`): what the kernel has programmed for a vector is asked of the kernel, and not read from the device.
//!
//! The feature has no number yet. Whoever runs such a kernel says which one it is: another feature may have any number,
//! so none is tried.

use super::descriptor::Descriptor;
use crate::counters::{Counter, Counters};
use pvir_abi::Pair;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{VFIO_DEVICE_FEATURE_GET, VFIO_DEVICE_FEATURE_PROBE};
use vmm_sys_util::ioctl_io_nr;

// linux/vfio.h: `_IO(VFIO_TYPE, VFIO_BASE + 17)`.
ioctl_io_nr!(VFIO_DEVICE_FEATURE, 0x3b, 117);

/// 32-bit words of a question: `struct vfio_device_feature` (2), the range (4), one message (4).
const WORDS: usize = 10;

/// The question, aligned for the 64 bits of an address.
#[repr(C, align(8))]
struct Question([u32; WORDS]);

/// The feature of one device.
#[derive(Debug)]
pub(crate) struct KernelMessages {
    device: Arc<Descriptor>,
    number: u16,
    asked: Counter,
}

impl KernelMessages {
    /// The feature `number` of a device.
    ///
    /// # Errors
    /// The errno with which the kernel says that the device has no such feature to read: `ENOTTY`, or `EINVAL` for one
    /// that is only written.
    pub(crate) fn new(device: Arc<Descriptor>, number: u16, counters: &Counters) -> io::Result<Self> {
        let messages = Self { device, number, asked: counters.ioctl("VFIO_DEVICE_FEATURE") };
        messages.ask(VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET, 0, 0)?;
        Ok(messages)
    }

    /// The message of a vector that is started. `kind` is `VFIO_PCI_MSI_IRQ_INDEX` or `VFIO_PCI_MSIX_IRQ_INDEX`.
    ///
    /// # Errors
    /// `ENOENT` if the vector is not started, `EOPNOTSUPP` if the device's messages are not remapped.
    pub(crate) fn message(&self, kind: u32, vector: u32) -> io::Result<Pair> {
        self.asked.count();
        let Question([_, _, _, _, _, _, low, high, data, _]) =
            self.ask(VFIO_DEVICE_FEATURE_GET, kind, vector)?;
        Ok(Pair { address: u64::from(high) << 32 | u64::from(low), data })
    }

    fn ask(&self, flags: u32, kind: u32, vector: u32) -> io::Result<Question> {
        let length = u32::try_from(size_of::<Question>()).map_err(io::Error::other)?;
        let flags = flags | u32::from(self.number);
        let mut question = Question([length, flags, kind, vector, 1, 0, 0, 0, 0, 0]);
        // SAFETY: `question` is laid out as a `struct vfio_device_feature` with the data of this feature for one message,
        // says how long it is, and lives through the call. Whatever feature has this number, the kernel reads and writes
        // no more than that length, and any bits are valid in it.
        let result = unsafe {
            libc::ioctl(self.device.file().as_raw_fd(), VFIO_DEVICE_FEATURE(), question.0.as_mut_ptr())
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(question) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_vfio_device_has_no_such_feature() {
        let device = Arc::new(Descriptor::new(tempfile::tempfile().unwrap()));
        let refused = KernelMessages::new(device, 14, &Counters::new());
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!((VFIO_DEVICE_FEATURE(), size_of::<Question>()), (0x3b75, 40));
    }
}
