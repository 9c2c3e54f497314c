//! The clock by which a VM's rate is limited.

use std::thread;
use std::time::{Duration, Instant};

/// Time for a [`Service`](super::super::Service): how it passes, and how a vCPU waits.
///
/// The default reads the monotonic clock and sleeps. A VMM has one of its own where a vCPU's thread must not sleep, or
/// must be woken for the end of the VM.
pub trait Clock: Send + Sync {
    /// Time since some moment, always the same one. It never goes back.
    fn now(&self) -> Duration;

    /// Holds the calling thread, a vCPU's, for so long. It holds no lock of the service. To return early is allowed: the
    /// guest then takes more of the host than its limit says.
    fn wait(&self, delay: Duration);
}

/// The monotonic clock.
#[derive(Debug)]
pub(in crate::service) struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait(&self, delay: Duration) {
        thread::sleep(delay);
    }
}
