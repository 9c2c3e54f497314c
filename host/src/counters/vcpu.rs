//! Counts of the exits of one vCPU.

use std::sync::atomic::{AtomicU64, Ordering};

/// Two cache lines, since processors fetch lines in pairs.
const LINE: usize = 128;
/// Counts in a line.
const IN_LINE: usize = LINE / size_of::<AtomicU64>();

#[derive(Debug, Default)]
#[repr(align(128))]
struct CountLine([AtomicU64; IN_LINE]);

const _: () = assert!(size_of::<CountLine>() == LINE);

/// The counts of one vCPU, by number. The VMM chooses what a number means, for example the cause of an exit.
///
/// Each vCPU has its own, which only its thread writes; the counts of a VM are their sum. They stand on cache lines
/// of their own, so that no vCPU waits for another one's writes.
#[derive(Debug)]
pub struct VcpuCounters {
    lines: Box<[CountLine]>,
}

impl VcpuCounters {
    /// At least `counts` counts, all zero: as many as fill the last cache line.
    #[must_use]
    pub fn new(counts: usize) -> Self {
        Self { lines: (0..counts.div_ceil(IN_LINE)).map(|_| CountLine::default()).collect() }
    }

    /// Adds one to the count `number`. A number beyond the last is ignored.
    #[inline]
    pub fn count(&self, number: usize) {
        if let Some(counter) = self.counter(number) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The count `number` so far; zero for a number beyond the last.
    #[must_use]
    pub fn get(&self, number: usize) -> u64 {
        self.counter(number).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    #[inline]
    fn counter(&self, number: usize) -> Option<&AtomicU64> {
        self.lines.get(number / IN_LINE)?.0.get(number % IN_LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_by_itself() {
        let counters = VcpuCounters::new(20);
        counters.count(0);
        (0..3).for_each(|_| counters.count(16));
        assert_eq!([0, 15, 16, 17].map(|number| counters.get(number)), [1, 0, 3, 0]);
    }

    #[test]
    fn a_number_that_is_not_there_is_not_counted() {
        let counters = VcpuCounters::new(16);
        counters.count(16);
        counters.count(usize::MAX);
        assert_eq!((counters.get(16), counters.get(usize::MAX)), (0, 0));
        assert_eq!(VcpuCounters::new(0).get(0), 0);
    }
}
