#![expect(unsafe_code, reason = "VFIO_DEVICE_SET_IRQS has a payload that the usual wrappers cannot send")]
//! `VFIO_DEVICE_SET_IRQS` for any range of a device's interrupts; errors keep their errno.
//!
//! The function of `vfio-ioctls` always passes the whole list from entry 0 on, so it cannot add one vector while
//! others run.

use super::descriptor::Descriptor;
use super::vectors::SetIrqs;
use crate::counters::{Counter, Counters};
use crate::eventfd::EventFd;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE, vfio_irq_set,
};
use vmm_sys_util::ioctl_io_nr;

// linux/vfio.h: `_IO(VFIO_TYPE, VFIO_BASE + 10)`.
ioctl_io_nr!(VFIO_DEVICE_SET_IRQS, 0x3b, 110);

/// Length of the fixed part of `struct vfio_irq_set`, in 32-bit words.
const HEAD: usize = size_of::<vfio_irq_set>() / 4;

/// The interrupts of one device, by the index of their kind (`VFIO_PCI_MSI_IRQ_INDEX`, `VFIO_PCI_MSIX_IRQ_INDEX`).
#[derive(Debug)]
pub(crate) struct Irqs {
    device: Arc<Descriptor>,
    set_irqs: Counter,
}

impl SetIrqs for Irqs {
    fn start(&self, kind: u32, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        let fds: Vec<i32> = eventfds.iter().map(|eventfd| eventfd.as_raw_fd()).collect();
        self.signal_to(kind, first, &fds)
    }

    fn stop(&self, kind: u32, first: u32, count: u32) -> io::Result<()> {
        self.signal_to(kind, first, &vec![-1; count as usize])
    }

    fn disable(&self, kind: u32) -> io::Result<()> {
        self.set(VFIO_IRQ_SET_DATA_NONE, kind, 0, 0, &[])
    }
}

impl Irqs {
    /// The interrupts of an open device.
    pub(crate) fn new(device: Arc<Descriptor>, counters: &Counters) -> Self {
        Self { device, set_irqs: counters.ioctl("VFIO_DEVICE_SET_IRQS") }
    }

    fn signal_to(&self, kind: u32, first: u32, fds: &[i32]) -> io::Result<()> {
        let count = u32::try_from(fds.len()).map_err(io::Error::other)?;
        self.set(VFIO_IRQ_SET_DATA_EVENTFD, kind, first, count, fds)
    }

    /// Has an eventfd signalled for what is no interrupt of the device. It is done once for a device, and not counted.
    pub(crate) fn notify(&self, kind: u32, eventfd: &EventFd) -> io::Result<()> {
        self.issue(VFIO_IRQ_SET_DATA_EVENTFD, kind, 0, 1, &[eventfd.as_raw_fd()])
    }

    fn set(&self, data: u32, index: u32, start: u32, count: u32, fds: &[i32]) -> io::Result<()> {
        self.set_irqs.count();
        self.issue(data, index, start, count, fds)
    }

    fn issue(&self, data: u32, index: u32, start: u32, count: u32, fds: &[i32]) -> io::Result<()> {
        let mut words: Vec<i32> = Vec::with_capacity(HEAD + fds.len());
        let argsz = u32::try_from((HEAD + fds.len()) * 4).map_err(io::Error::other)?;
        let head = [argsz, data | VFIO_IRQ_SET_ACTION_TRIGGER, index, start, count];
        words.extend(head.map(|word| i32::from_ne_bytes(word.to_ne_bytes())));
        words.extend(fds);
        // SAFETY: `words` is laid out as a `struct vfio_irq_set` (five 32-bit words, then one for each eventfd), is
        // `argsz` bytes long, and the kernel only reads it.
        let result =
            unsafe { libc::ioctl(self.device.file().as_raw_fd(), VFIO_DEVICE_SET_IRQS(), words.as_ptr()) };
        outcome(result)
    }
}

/// Translates the ioctl's result. A positive one is no success: so many vectors could be had, which is fewer than asked
/// for, and none is left allocated (Linux 6.12, drivers/vfio/pci/vfio_pci_intrs.c, `vfio_msi_enable`).
fn outcome(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        1.. => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        _ => Err(io::Error::last_os_error()),
    }
}

const _: () = assert!(HEAD == 5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_vectors_than_asked_for_are_none() {
        assert!(outcome(0).is_ok());
        assert_eq!(outcome(5).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert!(outcome(-1).is_err());
    }
}
