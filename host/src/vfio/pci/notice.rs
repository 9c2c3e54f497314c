//! What the kernel says to whoever has a device, beside the device's interrupts.

use super::VfioPci;
use crate::eventfd::EventFd;
use std::io;
use vfio_bindings::bindings::vfio::{VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX};

/// What the host's kernel tells of a device that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DeviceNotice {
    /// The host wants the device back: its driver is being unbound, or it is being removed. Whoever asked for that waits
    /// until the device is closed (`VFIO_PCI_REQ_IRQ_INDEX`).
    Wanted,
    /// The device has reported an uncorrectable error, and does not work any more (`VFIO_PCI_ERR_IRQ_INDEX`).
    Failed,
}

impl VfioPci {
    /// Has `eventfd` signalled when this comes, in place of what was given before. The kernel repeats
    /// [`DeviceNotice::Wanted`] until the device is closed. Answers `false` where the kernel does not tell it of this
    /// device: errors are those of PCI Express.
    ///
    /// # Errors
    /// The errno of `VFIO_DEVICE_SET_IRQS`.
    pub fn notify(&self, notice: DeviceNotice, eventfd: &EventFd) -> io::Result<bool> {
        let kind = match notice {
            DeviceNotice::Wanted => VFIO_PCI_REQ_IRQ_INDEX,
            DeviceNotice::Failed => VFIO_PCI_ERR_IRQ_INDEX,
        };
        told(self.irqs.notify(kind, eventfd))
    }
}

/// A kind that the device does not have: its number of interrupts is 0, or nothing can be done with them (Linux 6.12,
/// drivers/vfio/pci/vfio_pci_core.c, `vfio_pci_ioctl_set_irqs`).
fn told(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_tell_is_no_failure() {
        let errno = |errno| told(Err(io::Error::from_raw_os_error(errno)));
        assert!(told(Ok(())).unwrap());
        assert!(!errno(libc::EINVAL).unwrap() && !errno(libc::ENOTTY).unwrap());
        assert_eq!(errno(libc::EMFILE).unwrap_err().raw_os_error(), Some(libc::EMFILE));
    }
}
