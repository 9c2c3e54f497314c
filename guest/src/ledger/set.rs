//! A set of numbers without a lock.

use crate::sync::{AtomicU64, Ordering, fence};

/// Values that lie at one place of a set.
pub(crate) const WAYS: usize = 8;
/// Nothing lies here. No value is 0.
pub(crate) const FREE: u64 = 0;

pub(crate) type Bucket = [AtomicU64; WAYS];

/// A set of numbers other than 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set<'a>(pub(crate) &'a [Bucket]);

impl Set<'_> {
    /// Whether the value is new. It is noted if there is room for it.
    ///
    /// Of several that insert the same value at the same time at most one is told that it is new; all may be told that it
    /// is not, and then it is not noted.
    pub(crate) fn insert(&self, value: u64) -> bool {
        let Some(bucket) = self.bucket(value) else { return true };
        let has = |way: &AtomicU64| way.load(Ordering::Acquire) == value;
        if bucket.iter().any(has) {
            return false;
        }
        for (place, way) in bucket.iter().enumerate() {
            match way.compare_exchange(FREE, value, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // Another CPU may have found an earlier place that has become free. One of us sees the other's.
                    fence(Ordering::SeqCst);
                    let other = bucket.iter().enumerate().any(|(at, way)| at != place && has(way));
                    if other {
                        way.store(FREE, Ordering::Release);
                    }
                    return !other;
                }
                Err(now) if now == value => return false,
                Err(_) => {}
            }
        }
        true
    }

    pub(crate) fn remove(&self, value: u64) {
        for way in self.bucket(value).into_iter().flatten() {
            let _ = way.compare_exchange(value, FREE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    pub(crate) fn clear(&self) {
        self.0.iter().flatten().for_each(|way| way.store(FREE, Ordering::Release));
    }

    fn bucket(&self, value: u64) -> Option<&Bucket> {
        // Fibonacci hashing (Knuth, The Art of Computer Programming, vol. 3, section 6.4): the upper half is mixed best.
        let mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let place = usize::try_from(mixed).ok()?.checked_rem(self.0.len())?;
        self.0.get(place)
    }
}
