//! From the register that raises an interrupt to the first line of its handler, how many come through in a second, and
//! when the first one does.

use super::super::checks::Checks;
use super::{FIRST_VECTOR, VECTORS};
use crate::boot;
use crate::console::report;
use crate::cpu::interrupts;
use crate::cpu::time::{PATIENCE_MS, cycles, wait_until};
use crate::devices::{Device, Trigger};
use core::sync::atomic::{AtomicU64, Ordering};

/// Four buckets for each power of two: bucket 4 e + m begins at (4 + m) * 2^(e - 2) cycles.
const BUCKETS: usize = 160;
/// Entries that are raised together.
const BURST: u16 = 8;

/// When the last handler began.
static HANDLED: AtomicU64 = AtomicU64::new(0);

fn handler(_vector: u8) {
    HANDLED.store(cycles(), Ordering::Release);
}

/// Raises an entry's interrupt; when it was raised, and when it came.
fn raise(driver: &mut Device, entry: u16) -> Option<(u64, u64)> {
    HANDLED.store(0, Ordering::Release);
    let raised = cycles();
    driver.raise(entry);
    let came = wait_until(PATIENCE_MS, || HANDLED.load(Ordering::Acquire) != 0);
    driver.acknowledge(entry);
    came.then(|| (raised, HANDLED.load(Ordering::Acquire)))
}

fn with_handlers<R>(work: impl FnOnce() -> R) -> R {
    let vectors = || (FIRST_VECTOR..).take(VECTORS);
    vectors().for_each(|vector| interrupts::set_handler(vector, Some(handler)));
    let result = work();
    vectors().for_each(|vector| interrupts::set_handler(vector, None));
    result
}

/// Raises one interrupt, the device's first: from the kernel's first instruction until now this kernel has started the
/// machine, found the device, and set up all its vectors. Nothing may have been printed.
pub(super) fn first(driver: &mut Device, checks: &mut Checks) {
    if driver.vectors() == 0 {
        return;
    }
    let came = with_handlers(|| raise(driver, 0));
    if let Some((_, handled)) = came {
        report::event("first-interrupt", |event| {
            event.num("cycles", handled.saturating_sub(boot::started()));
        });
    }
    checks.expect("first-interrupt", came.is_some(), format_args!("it came"));
}

fn bucket(cycles: u64) -> usize {
    let exponent = cycles.max(4).ilog2();
    let mantissa = (cycles.max(4) >> (exponent - 2)) & 3;
    (exponent as usize * 4 + mantissa as usize).min(BUCKETS - 1)
}

/// Raises `count` interrupts one by one, then as many as fast as they come through.
pub(super) fn measure(driver: &mut Device, entries: usize, count: u64, checks: &mut Checks) {
    let entries = driver.vectors().min(u16::try_from(entries).unwrap_or(u16::MAX)).min(BURST);
    if entries == 0 {
        return;
    }
    with_handlers(|| latency(driver, entries, count, checks));
    throughput(driver, entries, count, checks);
}

fn latency(driver: &mut Device, entries: u16, count: u64, checks: &mut Checks) {
    let mut histogram = [0_u64; BUCKETS];
    let (mut came, mut sum) = (0, 0);
    for entry in (0..entries).cycle().take(usize::try_from(count).unwrap_or(0)) {
        let Some((raised, handled)) = raise(driver, entry) else { break };
        let took = handled.saturating_sub(raised);
        histogram[bucket(took)] += 1;
        came += 1;
        sum += took;
    }
    report::event("latency", |event| {
        let filled = histogram.into_iter().zip(0_u64..).filter(|(count, _)| *count > 0);
        event
            .num("interrupts", came)
            .num("cycles", sum)
            .numbers("histogram", filled.flat_map(|(count, bucket)| [bucket, count]));
    });
    checks.expect("latency", came == count, format_args!("{came} of {count} interrupts came"));
}

fn throughput(driver: &mut Device, entries: u16, count: u64, checks: &mut Checks) {
    let bursts = count.div_ceil(u64::from(entries));
    let mut done = 0;
    let start = cycles();
    for _ in 0..bursts {
        let wanted = interrupts::grand_total() + u64::from(entries);
        for entry in 0..entries {
            driver.raise(entry);
        }
        if !wait_until(PATIENCE_MS, || interrupts::grand_total() >= wanted) {
            break;
        }
        for entry in 0..entries {
            driver.acknowledge(entry);
        }
        done += 1;
    }
    let took = cycles().wrapping_sub(start);
    report::event("throughput", |event| {
        event.num("interrupts", done * u64::from(entries)).num("cycles", took);
    });
    checks.expect("throughput", done == bursts, format_args!("{done} of {bursts} bursts of {entries} came"));
}
