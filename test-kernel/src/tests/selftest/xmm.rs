//! The XMM registers of interrupted code are as they were, on every processor.

use super::Checks;
#[cfg(not(target_feature = "sse2"))]
use super::Outcome;

/// Interrupts of each processor.
#[cfg(target_feature = "sse2")]
const ROUNDS: u64 = 100;
/// The vector of the interrupts.
#[cfg(target_feature = "sse2")]
const VECTOR: u8 = 0x52;

/// Fills the registers, lets handlers overwrite them, and compares.
#[cfg(target_feature = "sse2")]
pub(super) fn kept(checks: &mut Checks) {
    use crate::machine::cpu::{self, interrupts, smp};

    let before = interrupts::total(VECTOR);
    let changed: u64 =
        cpu::all().map(|cpu| smp::run_on(cpu.index, changed_registers, ROUNDS).unwrap_or(u64::MAX)).sum();
    let taken = interrupts::total(VECTOR) - before;
    let expected = ROUNDS * cpu::count() as u64;
    checks.expect(
        "xmm-kept",
        changed == 0 && taken == expected,
        format_args!(
            "{changed} registers changed on {} CPUs, {taken} of {expected} interrupts",
            cpu::count()
        ),
    );
}

/// A job: how many of this processor's registers are not as they were after so many interrupts.
#[cfg(target_feature = "sse2")]
fn changed_registers(rounds: u64) -> u64 {
    use crate::machine::cpu::{self, xmm};

    let cpu = u64::from(cpu::current().apic_id);
    let values: xmm::Registers =
        core::array::from_fn(|number| [cpu << 32 | number as u64, !(cpu << 32 | number as u64)]);
    let found = xmm::interrupted(&values, VECTOR, rounds);
    values.iter().zip(&found).filter(|(value, found)| value != found).count() as u64
}

/// There is nothing to keep.
#[cfg(not(target_feature = "sse2"))]
pub(super) fn kept(checks: &mut Checks) {
    let outcome = Outcome::Skipped("built for a target whose functions do not use them");
    checks.record("xmm-kept", &outcome, format_args!(""));
}
