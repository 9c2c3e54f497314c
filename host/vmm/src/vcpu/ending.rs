//! How the run ends is decided once, by whoever comes first; all threads learn of it. Where the guest is started again,
//! that was the end of one boot only.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::outcome::Outcome;

/// The outcome, once there is one, and the event that says so.
#[derive(Debug)]
pub(crate) struct Ending {
    /// What the vCPUs look at after each exit.
    ended: AtomicBool,
    outcome: Mutex<Option<Outcome>>,
    event: EventFd,
}

impl Ending {
    pub(crate) fn new() -> io::Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK)?;
        Ok(Self { ended: AtomicBool::new(false), outcome: Mutex::default(), event })
    }

    /// Ends the run; without effect if it has ended.
    pub(crate) fn finish(&self, outcome: Outcome) {
        let mut decided = self.lock();
        // A guest that ends while it is stopped to be saved has ended.
        if matches!(*decided, None | Some(Outcome::SaveWanted)) {
            self.decide(&mut decided, outcome);
        }
    }

    /// Ends the run also while a guest that has ended by itself is to be started again.
    pub(crate) fn finish_for_good(&self, outcome: Outcome) {
        let mut decided = self.lock();
        if decided.as_ref().is_none_or(Outcome::is_restartable) {
            self.decide(&mut decided, outcome);
        }
    }

    fn decide(&self, decided: &mut Option<Outcome>, outcome: Outcome) {
        *decided = Some(outcome);
        self.ended.store(true, Ordering::Release);
        // It fails only if the counter is about to overflow, and it is read before each of the few writes.
        let _ = self.event.write(1);
    }

    /// Whether there is an outcome.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The outcome, once there is one.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.lock().clone()
    }

    /// What the descriptor has said was heard.
    pub(crate) fn acknowledge(&self) {
        // EAGAIN: it had not said anything.
        let _ = self.event.read();
    }

    /// The guest is started again. Answers whether that can be: not where the run has ended for good meanwhile.
    pub(crate) fn start_over(&self) -> bool {
        let mut decided = self.lock();
        let may = decided.as_ref().is_none_or(Outcome::is_restartable);
        if may {
            *decided = None;
            self.ended.store(false, Ordering::Release);
            self.acknowledge();
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRawFd for Ending {
    /// Readable when the run has ended, until it is [acknowledged](Ending::acknowledge).
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset() -> Outcome {
        Outcome::GuestReset { by: "port 0xcf9" }
    }

    #[test]
    fn whoever_comes_first_decides() {
        let ending = Ending::new().unwrap();
        assert!(!ending.has_ended() && ending.outcome().is_none());
        ending.finish(Outcome::GuestPowerOff);
        ending.finish(reset());
        ending.finish_for_good(Outcome::Interrupted);
        assert!(matches!(ending.outcome(), Some(Outcome::GuestPowerOff)) && ending.has_ended());
        assert!(!ending.start_over() && ending.has_ended());
    }

    #[test]
    fn a_guest_that_is_to_be_started_again_can_still_be_ended() {
        let ending = Ending::new().unwrap();
        ending.finish(reset());
        ending.finish_for_good(Outcome::Interrupted);
        assert!(matches!(ending.outcome(), Some(Outcome::Interrupted)));
        assert!(!ending.start_over());
    }

    #[test]
    fn started_over_it_has_not_ended() {
        let ending = Ending::new().unwrap();
        ending.finish(reset());
        assert!(ending.start_over());
        assert!(!ending.has_ended() && ending.outcome().is_none());
        assert!(ending.event.read().is_err(), "the descriptor is not readable");
        ending.finish(Outcome::GuestPowerOff);
        assert_eq!(ending.event.read().unwrap(), 1);
    }
}
