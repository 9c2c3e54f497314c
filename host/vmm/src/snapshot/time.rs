//! The two times of a guest: the machine's clock, and the time stamp counter of its boot CPU. They are read at one moment
//! and set at one moment: a guest compares them, and a Linux takes its counter for broken when they drift apart by half a
//! millisecond.
//!
//! The counters of the other CPUs follow the boot CPU's: KVM takes what is written to each within a second for the same
//! counter (`kvm_synchronize_tsc` in arch/x86/kvm/x86.c).

use anyhow::{Context, Result};
use kvm_bindings::kvm_clock_data;
use serde::{Deserialize, Serialize};

use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// How often the clock is read or set, so that one of the tries is not interrupted.
const TRIES: usize = 8;

/// Both times at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SavedTime {
    /// The machine's clock, in nanoseconds.
    clock: u64,
    /// The boot CPU's time stamp counter.
    counter: u64,
    /// Its frequency in kHz; 0 where KVM does not tell.
    khz: u32,
}

impl SavedTime {
    /// Of a machine whose vCPUs do not run.
    ///
    /// # Errors
    /// The ioctl that failed.
    pub(super) fn of(vm: &Vm, boot: &Vcpu) -> Result<Self> {
        let mut best: Option<(u64, Self)> = None;
        for _ in 0..TRIES {
            let before = boot.counter()?;
            let clock = vm.fd.get_clock().context("KVM_GET_CLOCK failed")?.clock;
            let window = boot.counter()?.wrapping_sub(before);
            if best.is_none_or(|(shortest, _)| window < shortest) {
                let counter = before.wrapping_add(window / 2);
                best = Some((window, Self { clock, counter, khz: boot.counter_khz() }));
            }
        }
        best.map(|(_, time)| time).context("the clock was not read")
    }

    /// Sets the clock of a machine whose vCPUs have their counters, and do not run.
    ///
    /// # Errors
    /// The ioctl that failed.
    pub(super) fn set(&self, vm: &Vm, boot: &Vcpu) -> Result<()> {
        // Half of what an attempt takes: the clock is set in its middle.
        let (mut half, mut shortest) = (0, u64::MAX);
        for _ in 0..TRIES {
            let before = boot.counter()?;
            let clock =
                kvm_clock_data { clock: self.clock_at(before.wrapping_add(half)), ..Default::default() };
            vm.fd.set_clock(&clock).context("KVM_SET_CLOCK failed")?;
            let window = boot.counter()?.wrapping_sub(before);
            // No worse than the one by which the middle is known.
            if window <= shortest.saturating_add(shortest / 8) && half != 0 {
                break;
            }
            shortest = shortest.min(window);
            half = shortest / 2;
        }
        Ok(())
    }

    /// What the clock shows when the counter has this value.
    fn clock_at(&self, counter: u64) -> u64 {
        // Two's complement: the counter may have been read a little before the moment of the save.
        let passed = i128::from(counter.wrapping_sub(self.counter).cast_signed());
        let nanoseconds = match self.khz {
            0 => 0,
            khz => passed * 1_000_000 / i128::from(khz),
        };
        let clock = i128::from(self.clock) + nanoseconds;
        u64::try_from(clock.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_as_the_counter_does() {
        let time = SavedTime { clock: 5_000_000, counter: 1 << 40, khz: 2_000_000 };
        assert_eq!(time.clock_at(1 << 40), 5_000_000);
        assert_eq!(time.clock_at((1 << 40) + 2_000), 5_001_000);
        assert_eq!(time.clock_at((1 << 40) - 2_000), 4_999_000);
        assert_eq!(time.clock_at(0), 0, "never below zero");
        let wrapped = SavedTime { clock: 5_000_000, counter: u64::MAX, khz: 1_000_000 };
        assert_eq!(wrapped.clock_at(999), 5_001_000);
        let unknown = SavedTime { khz: 0, ..time };
        assert_eq!(unknown.clock_at(7), 5_000_000);
    }
}
