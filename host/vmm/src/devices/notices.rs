//! What the host says of the devices that the VM has: that it wants one back, or that one has failed.

use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::eventfd::EventFd;
use pvir_host::vfio::{DeviceNotice, VfioPci};

/// The events of one host device.
#[derive(Debug)]
pub(crate) struct HostNotices {
    device: DeviceId,
    wanted: EventFd,
    failed: EventFd,
}

impl HostNotices {
    /// Asks for those of an open device.
    pub(crate) fn of(pci: &VfioPci) -> Result<Self> {
        let device = pci.address();
        let eventfd = || EventFd::new().context("cannot make an eventfd");
        let notices = Self { device, wanted: eventfd()?, failed: eventfd()? };
        for (notice, eventfd) in
            [(DeviceNotice::Wanted, &notices.wanted), (DeviceNotice::Failed, &notices.failed)]
        {
            let told = pci.notify(notice, eventfd);
            if !told.with_context(|| format!("{device}: cannot be told when it is {notice:?}"))? {
                tracing::debug!(%device, "the kernel does not tell when it is {notice:?}");
            }
        }
        Ok(notices)
    }

    /// Descriptors of which one is readable when [`next`](Self::next) has a notice.
    pub(crate) fn descriptors(&self) -> [RawFd; 2] {
        [self.wanted.as_raw_fd(), self.failed.as_raw_fd()]
    }

    /// What the host has said of the device, if it has said something, and the device's address on the host.
    pub(crate) fn next(&self) -> Option<(DeviceId, DeviceNotice)> {
        // One that was not signalled answers EAGAIN. A device that has failed is wanted back as well, for its reset.
        let notice = if self.failed.read().is_ok() {
            DeviceNotice::Failed
        } else {
            self.wanted.read().ok()?;
            DeviceNotice::Wanted
        };
        Some((self.device, notice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_comes_first_and_each_is_said_once() {
        let eventfd = || EventFd::new().unwrap();
        let device = DeviceId::default();
        let notices = HostNotices { device, wanted: eventfd(), failed: eventfd() };
        assert_eq!(notices.next(), None);
        notices.wanted.signal().unwrap();
        notices.wanted.signal().unwrap();
        assert_eq!(notices.next(), Some((device, DeviceNotice::Wanted)));
        assert_eq!(notices.next(), None);
        notices.wanted.signal().unwrap();
        notices.failed.signal().unwrap();
        assert_eq!(notices.next(), Some((device, DeviceNotice::Failed)));
    }
}
