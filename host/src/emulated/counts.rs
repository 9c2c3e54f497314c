//! What became of the interrupts.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of one of a device's interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// How often it was raised.
    pub raised: u64,
    /// Messages that the remapping unit let through.
    pub sent: u64,
    /// Messages that were blocked: by the remapping unit, or because there was none to send.
    pub blocked: u64,
    /// How often it was held because its entry was masked.
    pub held: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) raised: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) blocked: AtomicU64,
    pub(super) held: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            raised: read(&self.raised),
            sent: read(&self.sent),
            blocked: read(&self.blocked),
            held: read(&self.held),
        }
    }
}
