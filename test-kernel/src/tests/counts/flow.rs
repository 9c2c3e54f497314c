//! Interrupts: each entry once, then thousands of them while the kernel does nothing else.

use super::{VECTORS, place};
use crate::harness::checks::{Checks, Outcome};
use crate::machine::console::report;
use crate::machine::cpu::interrupts;
use crate::machine::cpu::time::{PATIENCE_MS, wait_until};
use crate::machine::devices::emulated::Emulated;
use crate::machine::devices::{Device, Trigger};

/// Microseconds for each vector of the rate generator. At a quarter of it a busy emulator did nothing but handle interrupts,
/// and never came to its next checkpoint.
const INTERVAL: u32 = 200;
/// Rounds are no bound: it is stopped.
const ROUNDS: u32 = 1 << 20;

/// The source of interrupts, if the device has a driver.
pub(super) struct Flow {
    pub(super) driver: Option<Device>,
    pub(super) interrupts: u64,
}

impl Flow {
    /// All entries have moved before.
    pub(super) fn deliver(&mut self, entries: usize, checks: &mut Checks) {
        let Some(driver) = &mut self.driver else {
            let reason = Outcome::Skipped("no driver that raises interrupts of this device");
            checks.record("raise", &reason, format_args!(""));
            return ["raised", "flowing", "delivered", "quiet"].into_iter().for_each(report::checkpoint);
        };
        let arrived = (0..entries).filter(|entry| raise(driver, *entry)).count();
        checks.expect("raise", arrived == entries, format_args!("{arrived} of {entries} handled"));
        report::checkpoint("raised");
        match driver {
            Device::Emulated(generator) => by_itself(generator, entries, self.interrupts, checks),
            driver => one_by_one(driver, entries, self.interrupts, checks),
        }
        report::checkpoint("quiet");
    }
}

/// Raises an entry and waits for it.
fn raise(driver: &mut Device, entry: usize) -> bool {
    let (cpu, vector) = place(entry, true);
    let Ok(number) = u16::try_from(entry) else { return false };
    let before = interrupts::count(cpu, vector);
    driver.raise(number);
    let came = wait_until(PATIENCE_MS, || interrupts::count(cpu, vector) > before);
    driver.acknowledge(number);
    came
}

/// The device raises them, from a thread: what flows needs no exit at all.
fn by_itself(generator: &Emulated, entries: usize, wanted: u64, checks: &mut Checks) {
    let Ok(count) = u32::try_from(entries) else { return };
    // Those of one vector on one processor merge, so more entries are not more time.
    let interval = INTERVAL.saturating_mul(count.min(VECTORS.into()));
    generator.run(0, count, interval, ROUNDS);
    report::checkpoint("flowing");
    let end = interrupts::grand_total() + wanted;
    let came = wait_until(PATIENCE_MS * 4, || interrupts::grand_total() >= end);
    checks.expect("flow", came, format_args!("{wanted} interrupts"));
    report::checkpoint("delivered");
    generator.stop();
}

/// The kernel raises them, by a register that is mapped.
fn one_by_one(driver: &mut Device, entries: usize, wanted: u64, checks: &mut Checks) {
    report::checkpoint("flowing");
    let turns = (0..entries).cycle().zip(0..wanted);
    let came = turns.filter(|(entry, _)| raise(driver, *entry)).count() as u64;
    checks.expect("flow", came == wanted, format_args!("{wanted} interrupts"));
    report::checkpoint("delivered");
}
