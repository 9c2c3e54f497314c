//! Time in cycles of the TSC, and waiting that ends.

#![expect(unsafe_code, reason = "reads the time stamp counter")]

use super::cpuid::cpuid;
use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};

/// How long tests wait for something that should happen at once, in [`wait_until`]'s measure. Generous: CPUs may be
/// emulated and share few real ones.
pub(crate) const PATIENCE_MS: u64 = 10_000;
/// How long tests wait to see that something does not happen.
pub(crate) const QUIET_MS: u64 = 20;

/// From one look of a waiting processor to the next no more than this counts as waited, or twice the shortest turn where
/// looking takes long: more is time in which the host had the processor do nothing.
const LONGEST_TURN_MS: u64 = 1;

/// What no machine here exceeds: a wait is rather too long than too short.
const ASSUMED_KHZ: u64 = 4_000_000;

/// The time stamp counter.
pub(crate) fn cycles() -> u64 {
    // SAFETY: RDTSC exists on every 64-bit processor and ring 0 may always use it.
    unsafe { _rdtsc() }
}

/// Frequency of the counter in kHz as CPUID tells it (Intel's leaf 0x15, the hypervisors' 0x40000010), else a
/// guess that is rather too high.
pub(crate) fn khz() -> u64 {
    static KHZ: AtomicU64 = AtomicU64::new(0);
    let known = KHZ.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let khz = from_crystal().or_else(from_hypervisor).unwrap_or(ASSUMED_KHZ);
    KHZ.store(khz, Ordering::Relaxed);
    khz
}

fn from_crystal() -> Option<u64> {
    if cpuid(0, 0).eax < 0x15 {
        return None;
    }
    let leaf = cpuid(0x15, 0);
    let hertz = (u64::from(leaf.ecx) * u64::from(leaf.ebx)).checked_div(u64::from(leaf.eax))?;
    plausible(hertz / 1000)
}

fn from_hypervisor() -> Option<u64> {
    const HYPERVISOR: u32 = 1 << 31;
    if cpuid(1, 0).ecx & HYPERVISOR == 0 || !(0x4000_0010..0x4000_0100).contains(&cpuid(0x4000_0000, 0).eax) {
        return None;
    }
    plausible(u64::from(cpuid(0x4000_0010, 0).eax))
}

fn plausible(khz: u64) -> Option<u64> {
    (100_000..=10_000_000).contains(&khz).then_some(khz)
}

/// Waits until `condition` holds, until it has looked for `budget_ms` at most; whether it came to hold.
///
/// Only the time in which this processor executes counts. On a busy host, which has its processors wait for each other and
/// for the host's threads, the limit is as much later as they are slower.
pub(crate) fn wait_until(budget_ms: u64, mut condition: impl FnMut() -> bool) -> bool {
    let budget = budget_ms.saturating_mul(khz());
    let (mut last, mut waited, mut shortest) = (cycles(), 0_u64, u64::MAX);
    loop {
        if condition() {
            return true;
        }
        let turn = cycles().wrapping_sub(last);
        last = last.wrapping_add(turn);
        shortest = shortest.min(turn);
        waited = waited.saturating_add(turn.min(shortest.saturating_mul(2).max(LONGEST_TURN_MS * khz())));
        if waited > budget {
            return condition();
        }
        core::hint::spin_loop();
    }
}

/// Waits for at least so long.
pub(crate) fn delay_us(microseconds: u64) {
    let start = cycles();
    let budget = microseconds.saturating_mul(khz()) / 1000;
    while cycles().wrapping_sub(start) < budget {
        core::hint::spin_loop();
    }
}
