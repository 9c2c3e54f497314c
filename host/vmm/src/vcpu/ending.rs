//! How the run ends is decided once, by whoever comes first; all threads learn of it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::outcome::Outcome;

/// The outcome of the run, once there is one, and the event that says so.
#[derive(Debug)]
pub(crate) struct Ending {
    outcome: OnceLock<Outcome>,
    event: EventFd,
}

impl Ending {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { outcome: OnceLock::new(), event: EventFd::new(EFD_NONBLOCK)? })
    }

    /// Ends the run; without effect if it has ended.
    pub(crate) fn finish(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            // It fails only if the counter is about to overflow, and this is its one write.
            let _ = self.event.write(1);
        }
    }

    /// The outcome, once there is one.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }
}

impl AsRawFd for Ending {
    /// Readable as soon as the run has ended.
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
