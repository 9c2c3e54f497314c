//! What a VM may take.

use std::num::NonZeroU32;
use std::time::Duration;

/// How much of the host a VM may take by what its guest does to its interrupts: in the long run a share of one core, and
/// as much at once as a burst has.
///
/// Time is nominal: each call of the kernel has a price. A full set-up and tear-down of all 4,072 interrupts that a VM can
/// have costs about a third of a second of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Percent of one core; `None` for no limit.
    share: Option<NonZeroU32>,
    burst: Duration,
}

impl RateLimit {
    /// The longest time for which a vCPU waits after one call, or one access to a trapped store (O7).
    pub const MAX_DELAY: Duration = Duration::from_millis(200);
    /// No limit.
    pub const OFF: Self = Self { share: None, burst: Self::BURST };
    /// The burst of a limit for which none was named.
    const BURST: Duration = Duration::from_secs(2);
    /// The share of the default.
    const SHARE: u32 = 50;

    /// A limit of so many percent of one core, with a burst of two seconds. 0 percent is a limit of one.
    #[must_use]
    pub fn percent(share: u32) -> Self {
        let share = NonZeroU32::new(share).unwrap_or(NonZeroU32::MIN);
        Self { share: Some(share), burst: Self::BURST }
    }

    /// With another burst: the time of work that a VM may have done at once when it had none done for long.
    #[must_use]
    pub fn with_burst(self, burst: Duration) -> Self {
        Self { burst, ..self }
    }

    /// Percent of one core; `None` for no limit.
    #[must_use]
    pub fn share(&self) -> Option<u32> {
        self.share.map(NonZeroU32::get)
    }

    /// The burst.
    #[must_use]
    pub fn burst(&self) -> Duration {
        self.burst
    }
}

/// Half of one core, with a burst of two seconds.
impl Default for RateLimit {
    fn default() -> Self {
        Self::percent(Self::SHARE)
    }
}
