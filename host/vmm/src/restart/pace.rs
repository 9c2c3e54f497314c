//! How fast a guest is started again: one that ends at once must not take the host's time.

use std::time::{Duration, Instant};

use crate::vcpu::outcome::Outcome;

/// From one start to the next, at the least.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest wait after a crash. A guest that has run for longer did not crash at once.
const LONGEST: Duration = Duration::from_secs(10);

/// The starts of one run.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    /// What the latest crash was waited for; zero after anything else.
    waited: Duration,
}

impl Pace {
    /// The guest starts for the first time at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, waited: Duration::ZERO }
    }

    /// When the guest, which has ended in this way at `now`, is started again. A crash of one that has just been started
    /// is waited for twice as long as the one before.
    pub(super) fn next_start(&mut self, outcome: &Outcome, now: Instant) -> Instant {
        let crashed_at_once = matches!(outcome, Outcome::GuestCrash(_)) && now < self.started + LONGEST;
        let next = if crashed_at_once {
            self.waited = (self.waited * 2).clamp(SHORTEST, LONGEST);
            now + self.waited
        } else {
            self.waited = Duration::ZERO;
            now.max(self.started + SHORTEST)
        };
        self.started = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcpu::crash::CrashReport;

    const RESET: Outcome = Outcome::GuestReset { by: "port 0xcf9" };
    const MOMENT: Duration = Duration::from_millis(1);

    fn crash() -> Outcome {
        Outcome::GuestCrash(Box::new(CrashReport::of_triple_fault()))
    }

    #[test]
    fn resets_are_a_tenth_of_a_second_apart() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let second = pace.next_start(&RESET, start + MOMENT);
        assert_eq!(second, start + SHORTEST);
        assert_eq!(pace.next_start(&RESET, second + LONGEST), second + LONGEST, "no wait after a long boot");
    }

    #[test]
    fn crashes_at_once_are_waited_for_twice_as_long_each_time_up_to_a_bound() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            now += MOMENT;
            let next = pace.next_start(&crash(), now);
            waits.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        now += LONGEST;
        assert_eq!(pace.next_start(&crash(), now), now, "it had run for a while");
        now += MOMENT;
        assert_eq!(pace.next_start(&crash(), now), now + SHORTEST);
    }
}
