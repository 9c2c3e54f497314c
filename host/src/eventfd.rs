#![expect(unsafe_code, reason = "the eventfd of vmm-sys-util has no conversions but by number")]
//! The eventfd between a device and KVM, as a type of this crate: a VMM may have any version of `vmm-sys-util`, or none.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd as Inner};

/// A counter in the kernel that one side signals and the other waits for (`eventfd(2)`).
///
/// It converts from and into an [`OwnedFd`], and lends its descriptor ([`AsFd`]), for whatever else uses it.
#[derive(Debug)]
pub struct EventFd(Inner);

impl EventFd {
    /// A new eventfd, nonblocking and close-on-exec, with the counter at zero.
    ///
    /// # Errors
    /// The errno of `eventfd2`, for example `EMFILE` if the process has no file descriptor left.
    #[inline]
    pub fn new() -> io::Result<Self> {
        Inner::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Self)
    }

    /// Adds one to the counter, or to what has it attached: raises the interrupt.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    #[inline]
    pub fn signal(&self) -> io::Result<()> {
        self.write(1)
    }

    /// Adds `count` to the counter.
    ///
    /// # Errors
    /// The errno of `write`: `EAGAIN` if the counter would overflow.
    #[inline]
    pub fn write(&self, count: u64) -> io::Result<()> {
        self.0.write(count)
    }

    /// Reads the counter and sets it to zero.
    ///
    /// # Errors
    /// The errno of `read`: `EAGAIN` if the counter is zero.
    pub fn read(&self) -> io::Result<u64> {
        self.0.read()
    }

    /// Another descriptor of the same eventfd.
    ///
    /// # Errors
    /// The errno of `fcntl` with `F_DUPFD_CLOEXEC`, for example `EMFILE`.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self`, which stays borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for EventFd {
    /// Of a descriptor that is no eventfd, every use fails.
    fn from(fd: OwnedFd) -> Self {
        // SAFETY: the descriptor is open and nobody else's.
        Self(unsafe { Inner::from_raw_fd(fd.into_raw_fd()) })
    }
}

impl From<EventFd> for OwnedFd {
    fn from(eventfd: EventFd) -> Self {
        // SAFETY: the descriptor is open, and its owner has just given it away.
        unsafe { Self::from_raw_fd(eventfd.0.into_raw_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn an_eventfd_counts_whoever_has_it() {
        let eventfd = EventFd::new().unwrap();
        let mut foreign = File::from(eventfd.as_fd().try_clone_to_owned().unwrap());
        foreign.write_all(&2_u64.to_ne_bytes()).unwrap();
        eventfd.signal().unwrap();
        assert_eq!(eventfd.read().unwrap(), 3);
        assert_eq!(eventfd.read().unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        let back = EventFd::from(OwnedFd::from(eventfd.try_clone().unwrap()));
        back.signal().unwrap();
        let mut count = [0; 8];
        foreign.read_exact(&mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}
