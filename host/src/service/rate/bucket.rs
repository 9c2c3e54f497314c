//! The token bucket.

use super::RateLimit;
use crate::work::Cost;
use std::time::Duration;

/// A debt that this time does not pay is forgiven: a guest that waits so long is not refused (O7).
const FORGIVEN_AFTER: Duration = Duration::from_secs(1);

/// What a VM may have done for it, in nominal nanoseconds.
#[derive(Debug)]
pub(in crate::service) struct TokenBucket {
    limit: RateLimit,
    /// Negative: a debt.
    pub(in crate::service) balance: i64,
    /// The balance of a full bucket.
    full: i64,
    /// When the balance was that, in nanoseconds.
    at: u64,
    /// Whether the VM was in debt ever.
    was_in_debt: bool,
}

impl TokenBucket {
    /// A full bucket.
    pub(in crate::service) fn new(limit: RateLimit) -> Self {
        let full = signed(nanoseconds(limit.burst()));
        Self { limit, balance: full, full, at: 0, was_in_debt: false }
    }

    /// The limit.
    pub(in crate::service) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Whether nobody has asked this before: for what is told once.
    pub(in crate::service) fn is_first_debt(&mut self) -> bool {
        !std::mem::replace(&mut self.was_in_debt, true)
    }

    /// Whether there is a limit at all.
    pub(in crate::service) fn is_limited(&self) -> bool {
        self.limit.share().is_some()
    }

    /// Whether the VM is not in debt at `now`.
    pub(in crate::service) fn admits(&mut self, now: Duration) -> bool {
        let Some(share) = self.limit.share() else { return true };
        self.refill(now, share);
        self.balance >= 0
    }

    /// Charges what was done. Answers for how long a vCPU has to wait that is not refused anything.
    pub(in crate::service) fn charge(&mut self, now: Duration, cost: Cost) -> Duration {
        let Some(share) = self.limit.share() else { return Duration::ZERO };
        self.refill(now, share);
        self.balance = self.balance.saturating_sub(signed(cost.nanoseconds()));
        if self.balance >= 0 {
            return Duration::ZERO;
        }
        self.balance = self.balance.max(-earned(nanoseconds(FORGIVEN_AFTER), share));
        let debt = self.balance.unsigned_abs();
        let delay = debt.saturating_mul(100).div_ceil(share.into());
        Duration::from_nanos(delay).min(RateLimit::MAX_DELAY)
    }

    fn refill(&mut self, now: Duration, share: u32) {
        let now = nanoseconds(now);
        // A thread may have read the clock before another one, and come later.
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.balance = self.balance.saturating_add(earned(passed, share)).min(self.full);
    }
}

/// What a VM gets in so many nanoseconds with `share` percent.
fn earned(time: u64, share: u32) -> i64 {
    signed(time.saturating_mul(share.into()) / 100)
}

/// 64 bits are enough for 584 years, and quicker than the 128 that a [`Duration`] answers with.
fn nanoseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}

fn signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// A quarter of a core, with a burst of 10 ms.
    fn bucket() -> TokenBucket {
        TokenBucket::new(RateLimit::percent(25).with_burst(ms(10)))
    }

    /// So many milliseconds.
    fn cost(milliseconds: usize) -> Cost {
        Cost::ISOLATION.times(milliseconds)
    }

    #[test]
    fn a_burst_is_free_and_what_comes_after_it_is_not() {
        let mut bucket = bucket();
        assert_eq!(bucket.charge(ms(0), cost(10)), ms(0));
        assert!(bucket.admits(ms(0)));
        assert_eq!(bucket.charge(ms(0), cost(1)), ms(4), "a quarter of a core pays 1 ms in 4 ms");
        assert!(!bucket.admits(ms(3)) && bucket.admits(ms(4)));
    }

    #[test]
    fn it_fills_up_to_the_burst_and_no_further() {
        let mut bucket = bucket();
        bucket.charge(ms(0), cost(10));
        assert_eq!(bucket.charge(ms(1_000_000), cost(11)), ms(4));
    }

    #[test]
    fn a_delay_has_an_end_and_so_has_a_debt() {
        let mut bucket = bucket();
        assert_eq!(bucket.charge(ms(0), cost(1_000_000)), RateLimit::MAX_DELAY);
        assert!(!bucket.admits(ms(999)));
        assert!(bucket.admits(ms(1000)), "the rest is forgiven");
    }

    #[test]
    fn in_the_long_run_it_is_the_share() {
        let mut bucket = bucket();
        let (mut now, mut done) = (ms(0), 0);
        while now < ms(100_000) {
            now += bucket.charge(now, cost(3)) + ms(3);
            done += 3;
        }
        assert!((25_000..=25_013).contains(&done), "{done} ms of 100 s");
    }

    #[test]
    fn without_a_limit_nothing_is_charged() {
        let mut bucket = TokenBucket::new(RateLimit::OFF);
        assert_eq!(bucket.charge(ms(0), cost(1_000_000)), ms(0));
        assert!(bucket.admits(ms(0)) && !bucket.is_limited());
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut bucket = TokenBucket::new(RateLimit::percent(u32::MAX).with_burst(Duration::MAX));
        assert_eq!(bucket.charge(Duration::MAX, Cost::ISOLATION.times(usize::MAX)), ms(0));
        let mut bucket = TokenBucket::new(RateLimit::percent(0).with_burst(Duration::ZERO));
        assert_eq!(bucket.charge(Duration::MAX, Cost::ISOLATION.times(usize::MAX)), RateLimit::MAX_DELAY);
        assert!(!bucket.admits(Duration::ZERO), "a clock that goes back");
    }
}
