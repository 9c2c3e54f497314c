//! From the register that raises an interrupt to the first line of its handler, how many come through in a second, and
//! when the first one does.

use super::{FIRST_VECTOR, VECTORS, destination};
use crate::harness::checks::Checks;
use crate::machine::boot;
use crate::machine::console::report;
use crate::machine::cpu::time::{PATIENCE_MS, cycles, wait_until};
use crate::machine::cpu::{self, interrupts};
use crate::machine::devices::{Device, Trigger};
use core::sync::atomic::{AtomicU64, Ordering};
use pvir_test_kernel::histogram::Histogram;

/// Entries that are raised together.
const BURST: u16 = 8;

/// When the last handler began.
static HANDLED: AtomicU64 = AtomicU64::new(0);
/// How many have begun.
static CAME: AtomicU64 = AtomicU64::new(0);

fn handler(_vector: u8) {
    HANDLED.store(cycles(), Ordering::Release);
    CAME.fetch_add(1, Ordering::Release);
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

/// Raises `count` interrupts one by one, then as many as fast as they come through.
pub(super) fn measure(driver: &mut Device, entries: usize, count: u64, checks: &mut Checks) {
    let entries = driver.vectors().min(u16::try_from(entries).unwrap_or(u16::MAX)).min(BURST);
    if entries == 0 {
        return;
    }
    with_handlers(|| {
        latency(driver, entries, count, checks);
        throughput(driver, entries, count, checks);
    });
}

fn latency(driver: &mut Device, entries: u16, count: u64, checks: &mut Checks) {
    // a processor that halts takes longer than the one that has raised it: two numbers, not the middle between them
    let mut own = Histogram::new();
    let mut other = Histogram::new();
    let mut came = 0;
    for entry in (0..entries).cycle().take(usize::try_from(count).unwrap_or(0)) {
        let Some((raised, handled)) = raise(driver, entry) else { break };
        let here = destination(entry.into(), 0).0 == cpu::current().apic_id;
        let histogram = if here { &mut own } else { &mut other };
        histogram.add(handled.saturating_sub(raised));
        came += 1;
    }
    report_histogram("latency-own", 1, &own);
    report_histogram("latency-other", 1, &other);
    checks.expect("latency", came == count, format_args!("{came} of {count} interrupts came"));
}

fn throughput(driver: &mut Device, entries: u16, count: u64, checks: &mut Checks) {
    let mut histogram = Histogram::new();
    let bursts = count.div_ceil(u64::from(entries));
    let mut done = 0;
    for _ in 0..bursts {
        let start = cycles();
        let wanted = CAME.load(Ordering::Acquire) + u64::from(entries);
        for entry in 0..entries {
            driver.raise(entry);
        }
        if !wait_until(PATIENCE_MS, || CAME.load(Ordering::Acquire) >= wanted) {
            break;
        }
        for entry in 0..entries {
            driver.acknowledge(entry);
        }
        histogram.add(cycles().wrapping_sub(start));
        done += 1;
    }
    report_histogram("throughput", entries, &histogram);
    checks.expect("throughput", done == bursts, format_args!("{done} of {bursts} bursts of {entries} came"));
}

/// How long it took until so many were handled that had been raised together.
fn report_histogram(name: &str, together: u16, histogram: &Histogram) {
    report::event(name, |event| {
        event
            .num("together", together)
            .numbers("histogram", histogram.filled().flat_map(|(begin, count)| [begin, count]));
    });
}
