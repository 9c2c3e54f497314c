//! How often something took how long, in buckets that are as fine as the time is short.

use core::iter::zip;

/// Buckets for each power of two, as a power of two: a bucket is at most a sixteenth of its beginning wide.
const SHIFT: u32 = 4;
const STEPS: usize = 1 << SHIFT;
/// Up to 2^43; what is longer counts as that.
const BUCKETS: usize = 40 * STEPS;

/// Counts of times.
#[derive(Debug)]
pub struct Histogram {
    counts: [u32; BUCKETS],
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [0; BUCKETS] }
    }

    /// Counts one.
    pub fn add(&mut self, time: u64) {
        let count = &mut self.counts[bucket(time)];
        *count = count.saturating_add(1);
    }

    /// Where each bucket that is not empty begins, and how many are in it. One that begins at `b` is
    /// `max(1, 2^(floor(log2(b)) - 4))` wide.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64)> {
        zip(0.., &self.counts)
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (begin(bucket), u64::from(*count)))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket(time: u64) -> usize {
    // how far to shift until only the leading bit and the steps are left; below 2 * STEPS a bucket is one wide
    let shift = time.checked_ilog2().map_or(0, |log| log.saturating_sub(SHIFT));
    let leading = usize::try_from(time >> shift).unwrap_or(BUCKETS);
    (shift as usize * STEPS + leading).min(BUCKETS - 1)
}

fn begin(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_each_time_is_in_its_own() {
        for bucket_number in 0..BUCKETS - 1 {
            let (first, behind) = (begin(bucket_number), begin(bucket_number + 1));
            let width = 1 << first.checked_ilog2().unwrap_or(0).saturating_sub(SHIFT);
            assert_eq!(behind - first, width);
            assert_eq!((bucket(first), bucket(behind - 1)), (bucket_number, bucket_number));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_was_counted_is_listed_once() {
        let mut histogram = Histogram::new();
        [5, 1000, 1023, 1024].into_iter().for_each(|time| histogram.add(time));
        assert_eq!(histogram.filled().collect::<Vec<_>>(), [(5, 1), (992, 2), (1024, 1)]);
    }
}
