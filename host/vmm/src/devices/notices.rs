//! What the host says of the devices that the VM has: that it wants one back, that one has failed, or that it was reset.

use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::eventfd::EventFd;
use pvir_host::isolation::Host;
use pvir_host::service::{Event, RaiseError, Service};
use pvir_host::vfio::{DeviceNotice, VfioPci};

use super::reset_watch::ResetWatch;

/// The events of one host device.
#[derive(Debug)]
pub(crate) struct HostNotices {
    device: DeviceId,
    /// Where the guest finds it.
    guest: DeviceId,
    wanted: EventFd,
    failed: EventFd,
    resets: Option<ResetWatch>,
}

impl HostNotices {
    /// Asks for those of an open device, which the guest finds at `guest`.
    pub(crate) fn of(pci: &VfioPci, guest: DeviceId) -> Result<Self> {
        let device = pci.address();
        // Whoever cannot watch has a device that works all the same.
        let resets = ResetWatch::of(&Host::default().device_path(device)).unwrap_or_else(|error| {
            tracing::warn!(%device, "a reset by the host's administrator will not be noticed: {error}");
            None
        });
        let eventfd = || EventFd::new().context("cannot make an eventfd");
        let notices = Self { device, guest, wanted: eventfd()?, failed: eventfd()?, resets };
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

    /// Descriptors of which one is readable when [`next`](Self::next) has a notice, or
    /// [`tell_resets`](Self::tell_resets) something to tell.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let resets = self.resets.as_ref().map(AsRawFd::as_raw_fd);
        [self.wanted.as_raw_fd(), self.failed.as_raw_fd()].into_iter().chain(resets)
    }

    /// Tells the guest that its device was reset, if it was.
    pub(crate) fn tell_resets(&self, service: &Service) {
        if !self.resets.as_ref().is_some_and(ResetWatch::was_reset) {
            return;
        }
        let Self { device, guest, .. } = self;
        match service.raise(Event::StalePairs(Some(*guest))) {
            Ok(_) => {
                tracing::warn!(%device, "was reset by the host; the guest is told that its pairs are stale");
            }
            Err(RaiseError::NotEnabled) => {
                tracing::warn!(%device, "was reset by the host; the guest has no way to be told");
            }
            Err(error) => tracing::warn!(%device, "was reset by the host; the guest is not told: {error}"),
        }
    }

    /// Where the guest finds the device.
    pub(crate) fn guest(&self) -> DeviceId {
        self.guest
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
        let notices =
            HostNotices { device, guest: device, wanted: eventfd(), failed: eventfd(), resets: None };
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
