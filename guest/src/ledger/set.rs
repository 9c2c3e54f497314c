//! A set of numbers without a lock.

use crate::sync::{AtomicU64, Ordering};

/// Nothing lies here. No value is 0.
pub(crate) const FREE: u64 = 0;

/// A set of numbers other than 0. `WAYS` values lie at each of its places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set<'a, const WAYS: usize>(pub(crate) &'a [[AtomicU64; WAYS]]);

impl<const WAYS: usize> Set<'_, WAYS> {
    /// Whether the value is new. It is noted if there is room for it. Of several that insert the same value at the same
    /// time more than one may be told that it is new.
    pub(crate) fn insert(&self, value: u64) -> bool {
        if self.has(value) {
            return false;
        }
        for way in self.bucket(value).into_iter().flatten() {
            if way.compare_exchange(FREE, value, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        true
    }

    pub(crate) fn has(&self, value: u64) -> bool {
        let bucket = self.bucket(value);
        bucket.into_iter().flatten().any(|way| way.load(Ordering::Acquire) == value)
    }

    pub(crate) fn remove(&self, value: u64) {
        for way in self.bucket(value).into_iter().flatten() {
            let _ = way.compare_exchange(value, FREE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    pub(crate) fn clear(&self) {
        for way in self.0.iter().flatten() {
            // Whoever finds this zero finds what came before it.
            way.swap(FREE, Ordering::AcqRel);
        }
    }

    fn bucket(&self, value: u64) -> Option<&[AtomicU64; WAYS]> {
        // Fibonacci hashing (Knuth, The Art of Computer Programming, vol. 3, section 6.4): the upper half is mixed best.
        let mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let place = usize::try_from(mixed).ok()?.checked_rem(self.0.len())?;
        self.0.get(place)
    }
}
