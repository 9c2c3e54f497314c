//! How much is measured: bounded, whatever the machine.

/// Sizes and repetitions.
pub(super) struct Plan {
    /// Vectors of the emulated device.
    pub(super) sizes: &'static [u32],
    /// How often each pair is run; the ways take turns.
    pub(super) repeats: u32,
    /// Rounds of one run; the first warms up and does not count.
    pub(super) rounds: u32,
    /// Interrupts for the histogram, and again for the rate, in each run.
    pub(super) interrupts: u32,
}

impl Plan {
    pub(super) const QUICK: Self =
        Self { sizes: &[1, 64, 256, 2048], repeats: 2, rounds: 3, interrupts: 100 };
    pub(super) const FULL: Self =
        Self { sizes: &[1, 10, 64, 256, 512, 2048], repeats: 5, rounds: 4, interrupts: 200 };

    /// The kernel's command line.
    pub(super) fn words(&self) -> String {
        format!("bench rounds={} interrupts={}", self.rounds, self.interrupts)
    }
}
