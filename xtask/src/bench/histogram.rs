//! Times of interrupts, counted by bucket as the kernel does, of many runs together.

use std::collections::BTreeMap;

use serde::Serialize;

/// As `test-kernel/src/histogram.rs`: buckets for each power of two, as a power of two.
const SHIFT: u32 = 4;

/// Count by where the bucket begins, in cycles.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Histogram(BTreeMap<u64, u64>);

impl Histogram {
    /// Adds what a run counted: beginning and count in turn.
    pub(super) fn add(&mut self, counts: &[u64]) {
        for pair in counts.chunks_exact(2) {
            *self.0.entry(pair[0]).or_default() += pair[1];
        }
    }

    /// Both together.
    pub(super) fn with(mut self, other: &Self) -> Self {
        for (begin, count) in &other.0 {
            *self.0.entry(*begin).or_default() += count;
        }
        self
    }

    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// What this part of all did not exceed, as if those of a bucket were spread evenly over it.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let rank = part * self.total() as f64;
        let mut before = 0.0;
        for (&begin, &count) in &self.0 {
            let behind = before + count as f64;
            if behind >= rank {
                return Some(begin as f64 + width(begin) as f64 * (rank - before) / count as f64);
            }
            before = behind;
        }
        None
    }

    /// Which part of all had come when, from nothing to all.
    pub(super) fn cumulated(&self) -> Vec<(f64, f64)> {
        let all = self.total() as f64;
        let mut come = 0;
        let ends = self.0.iter().map(|(&begin, &count)| {
            come += count;
            ((begin + width(begin)) as f64, come as f64 / all)
        });
        let first = self.0.keys().next().map(|&begin| (begin as f64, 0.0));
        first.into_iter().chain(ends).collect()
    }
}

fn width(begin: u64) -> u64 {
    1 << begin.checked_ilog2().unwrap_or(0).saturating_sub(SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_the_bucket_of_their_rank() {
        let mut histogram = Histogram::default();
        histogram.add(&[1024, 50, 2048, 40]);
        let mut other = Histogram::default();
        other.add(&[2048, 9, 1_048_576, 1]);
        let histogram = histogram.with(&other);
        assert_eq!(histogram.total(), 100);
        assert_eq!(histogram.quantile(0.25), Some(1024.0 + 32.0));
        assert_eq!(histogram.quantile(0.5), Some(1024.0 + 64.0));
        assert_eq!(histogram.quantile(0.99), Some(2048.0 + 128.0), "one outlier changes nothing");
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn what_has_come_grows_from_nothing_to_all() {
        let mut histogram = Histogram::default();
        histogram.add(&[16, 1, 17, 3]);
        assert_eq!(histogram.cumulated(), [(16.0, 0.0), (17.0, 0.25), (18.0, 1.0)]);
    }
}
