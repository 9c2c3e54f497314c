//! How much is measured: bounded, whatever the machine.

use std::time::{Duration, Instant};

use super::what::Testbed;

/// Sizes and repetitions.
pub(super) struct Plan {
    /// Vectors of the emulated device.
    pub(super) sizes: &'static [u32],
    /// Vectors of the `nvme` in the lab, beside all that it has.
    pub(super) lab_sizes: &'static [u32],
    /// How often each pair is run, at least and at most; the ways take turns.
    pub(super) at_least: u32,
    pub(super) repeats: u32,
    /// Rounds of one run, on this machine and in the lab; the first warms up and does not count. In the lab a round
    /// costs little beside the boot of the VM.
    pub(super) rounds: (u32, u32),
    /// Interrupts raised one by one, and again in bursts, in each run, on this machine and in the lab.
    pub(super) interrupts: (u32, u32),
    /// No repetition begins in either part that would end later, save those at least.
    pub(super) limit: Duration,
}

impl Plan {
    pub(super) const QUICK: Self = Self {
        sizes: &[1, 64, 256, 2048],
        lab_sizes: &[],
        at_least: 1,
        repeats: 2,
        rounds: (3, 9),
        interrupts: (500, 1000),
        limit: Duration::from_secs(30),
    };
    pub(super) const FULL: Self = Self {
        sizes: &[1, 10, 64, 256, 512, 2048],
        lab_sizes: &[1, 8],
        at_least: 3,
        repeats: 8,
        rounds: (4, 9),
        interrupts: (1000, 2000),
        limit: Duration::from_secs(180),
    };

    /// The kernel's command line. Up to the first interrupt it prints nothing.
    pub(super) fn words(&self, place: Testbed) -> String {
        let (rounds, interrupts) = match place {
            Testbed::Kvm => (self.rounds.0, self.interrupts.0),
            Testbed::Lab => (self.rounds.1, self.interrupts.1),
        };
        format!("bench log=warn rounds={rounds} interrupts={interrupts}")
    }

    /// Repeats `work` as often as it is meant to be and time allows; answers how often that was.
    pub(super) fn repeat<E>(&self, mut work: impl FnMut() -> Result<(), E>) -> Result<u32, E> {
        let started = Instant::now();
        for done in 0..self.repeats {
            // as long again as the mean of those before
            let next = started.elapsed() / done.max(1);
            if done >= self.at_least && started.elapsed() + next > self.limit {
                return Ok(done);
            }
            work()?;
        }
        Ok(self.repeats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_least_and_then_as_time_allows() {
        for plan in [Plan::QUICK, Plan::FULL] {
            let in_no_time = Plan { limit: Duration::ZERO, ..plan };
            assert_eq!(in_no_time.repeat(|| Ok::<(), ()>(())), Ok(in_no_time.at_least));
        }
        assert_eq!(Plan::FULL.repeat(|| Ok::<(), ()>(())), Ok(Plan::FULL.repeats));
        assert_eq!(Plan::FULL.repeat(|| Err(7)), Err(7));
    }
}
