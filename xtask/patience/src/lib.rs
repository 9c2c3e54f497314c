//! How long to wait for something that ought to come, on a machine that may be slow or busy.
//!
//! A limit is written down for an idle machine, and is one of no progress: whatever comes starts it anew. Once it has
//! passed, the machine is measured, there and then. If that is slower than an idle one, since others use its processors or
//! since it is an emulator, the limit is so much longer. A test that waits like this does not fail for want of a processor.

#![forbid(unsafe_code)]

mod speed;

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How often [`until`] looks.
const PERIOD: Duration = Duration::from_millis(1);

/// A wait for something.
#[derive(Debug)]
pub struct Patience {
    limit: Limit,
    /// When something came last.
    since: Instant,
}

impl Patience {
    /// Begins to wait. An idle machine is given `limit` from one sign of progress to the next.
    pub fn new(limit: Duration) -> Self {
        Self { limit: Limit { idle: limit, now: limit }, since: Instant::now() }
    }

    /// Something came: the wait begins anew.
    pub fn progress(&mut self) {
        self.since = Instant::now();
        self.limit.now = self.limit.idle;
    }

    /// Whether nothing came for too long. Takes some time once the limit for an idle machine has passed: the machine is
    /// measured then.
    pub fn is_over(&mut self) -> bool {
        // what the measurement takes is no time that was waited
        let waited = self.waited();
        self.limit.is_passed(waited, speed::slowdown)
    }

    /// How long nothing came.
    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// How long to wait for progress before it makes sense to ask whether the wait is over.
    pub fn left(&self) -> Duration {
        self.limit.now.saturating_sub(self.waited())
    }
}

/// Waits until `condition` holds; false if it did not within `limit`, as an idle machine would take it.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let mut patience = Patience::new(limit);
    loop {
        if condition() {
            return true;
        }
        if patience.is_over() {
            // it may have come to hold while the machine was measured
            return condition();
        }
        thread::sleep(PERIOD);
    }
}

/// How long a program may be given that keeps a limit by itself: as much longer than on an idle machine as this one was
/// slower, when this was asked for the first time.
pub fn stretched(limit: Duration) -> Duration {
    static SLOWDOWN: OnceLock<f64> = OnceLock::new();
    limit.mul_f64(*SLOWDOWN.get_or_init(speed::slowdown))
}

/// A limit, and how far it has grown.
#[derive(Debug)]
struct Limit {
    /// On an idle machine.
    idle: Duration,
    /// On this one, as it was measured last.
    now: Duration,
}

impl Limit {
    /// Whether it has passed, after so long. `slowdown` measures how many times slower than an idle machine this one is.
    fn is_passed(&mut self, waited: Duration, slowdown: impl FnOnce() -> f64) -> bool {
        if waited < self.now {
            return false;
        }
        self.now = self.now.max(self.idle.mul_f64(slowdown()));
        waited >= self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    fn limit() -> Limit {
        Limit { idle: IDLE, now: IDLE }
    }

    #[test]
    fn an_idle_machine_is_not_measured_before_its_time_and_given_no_more() {
        let mut limit = limit();
        assert!(!limit.is_passed(IDLE / 2, || unreachable!("it is early")));
        assert!(limit.is_passed(IDLE, || 1.0));
    }

    #[test]
    fn a_slow_machine_is_given_as_much_more_and_is_measured_again_then() {
        let mut limit = limit();
        assert!(!limit.is_passed(IDLE, || 4.0));
        assert!(!limit.is_passed(IDLE * 3, || unreachable!("it was found to be slow")));
        assert!(!limit.is_passed(IDLE * 4, || 6.0));
        assert!(limit.is_passed(IDLE * 6, || 1.0), "as slow as it was found to be");
    }

    #[test]
    fn progress_starts_the_wait_anew() {
        let mut patience = Patience::new(IDLE);
        patience.since = Instant::now().checked_sub(IDLE / 2).unwrap();
        assert!(patience.left() <= IDLE / 2);
        patience.limit.now = IDLE * 9;
        patience.progress();
        assert!(patience.left() > IDLE / 2 && patience.left() <= IDLE);
    }

    #[test]
    fn no_limit_is_shortened() {
        assert!(stretched(IDLE) >= IDLE);
    }

    #[test]
    fn a_condition_that_holds_is_not_waited_for() {
        let mut asked = 0;
        assert!(until(IDLE, || {
            asked += 1;
            asked == 3
        }));
        assert!(!until(Duration::ZERO, || false));
    }
}
