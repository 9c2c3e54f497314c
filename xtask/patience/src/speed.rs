//! How slow this machine is at the moment.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Long enough that the kernel takes the processor away meanwhile if others want it.
const ROUNDS: u32 = 40_000_000;
/// What the machine takes for them, when idle, on which the limits were written down.
const IDLE: Duration = Duration::from_millis(60);

/// How many times longer than an idle machine this one takes for the same work, by the clock on the wall; at least 1.
pub(crate) fn slowdown() -> f64 {
    let started = Instant::now();
    black_box(work(ROUNDS));
    (started.elapsed().as_secs_f64() / IDLE.as_secs_f64()).max(1.0)
}

/// Each round needs the one before: no processor does two at once.
fn work(rounds: u32) -> u64 {
    (0..rounds).fold(black_box(1), |state: u64, _| {
        let state = state ^ (state << 13);
        let state = state ^ (state >> 7);
        state ^ (state << 17)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_machine_is_faster_than_an_idle_one() {
        assert!(slowdown() >= 1.0);
    }

    #[test]
    fn more_rounds_are_more_work() {
        assert_ne!(work(1), work(2));
    }
}
