//! The GSIs of a VM that no line uses.

use super::MAX_GSI;
use std::ops::Range;

const BITS: u32 = u64::BITS;

/// The free GSIs of a VM. The lowest is given out first: KVM's routing table is as long as its highest GSI.
#[derive(Debug)]
pub struct GsiPool {
    /// A bit for each of `gsis`, set while it is free.
    words: Vec<u64>,
    /// No word before this one has a bit set.
    lowest: usize,
    gsis: Range<u32>,
    free: u32,
}

impl GsiPool {
    /// A pool of at most `max` GSIs from `first` on. GSIs below `first` belong to the VM's I/O APIC, and no GSI
    /// reaches [`MAX_GSI`]. `None` if no GSI is left between the two.
    #[must_use]
    pub fn new(first: u32, max: u32) -> Option<Self> {
        Self::within(first..MAX_GSI, max)
    }

    /// A pool of the first `max` GSIs of `gsis`, without those from [`MAX_GSI`] on. `None` if there are none.
    #[must_use]
    pub fn within(gsis: Range<u32>, max: u32) -> Option<Self> {
        let first = gsis.start;
        let end = first.checked_add(max)?.min(gsis.end).min(MAX_GSI);
        let free = end.checked_sub(first).filter(|free| *free > 0)?;
        let of_word = |word: u32| match free - word * BITS {
            some @ ..BITS => (1 << some) - 1,
            _ => u64::MAX,
        };
        let words = (0..free.div_ceil(BITS)).map(of_word).collect();
        Some(Self { words, lowest: 0, gsis: first..end, free })
    }

    /// Takes the lowest free GSI; `None` when all are in use.
    #[inline]
    pub fn take(&mut self) -> Option<u32> {
        let bits = loop {
            match self.words.get_mut(self.lowest)? {
                0 => self.lowest += 1,
                bits => break bits,
            }
        };
        let bit = bits.trailing_zeros();
        *bits &= *bits - 1;
        self.free -= 1;
        Some(self.gsis.start + u32::try_from(self.lowest).ok()? * BITS + bit)
    }

    /// Returns `gsi` to the pool. A GSI that is not in use, or not of this pool, is ignored.
    pub fn give_back(&mut self, gsi: u32) {
        if !self.gsis.contains(&gsi) {
            return;
        }
        let place = gsi - self.gsis.start;
        let (word, bit) = ((place / BITS) as usize, 1 << (place % BITS));
        if let Some(bits) = self.words.get_mut(word).filter(|bits| **bits & bit == 0) {
            *bits |= bit;
            self.lowest = self.lowest.min(word);
            self.free += 1;
        }
    }

    /// Number of free GSIs.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gsis_are_taken_lowest_first_and_come_back() {
        let mut pool = GsiPool::new(24, 3).unwrap();
        assert_eq!(
            [pool.take(), pool.take(), pool.take(), pool.take()],
            [Some(24), Some(25), Some(26), None]
        );
        pool.give_back(25);
        pool.give_back(25);
        pool.give_back(7);
        pool.give_back(27);
        assert_eq!(pool.free(), 1);
        assert_eq!(pool.take(), Some(25));
    }

    #[test]
    fn every_gsi_is_given_once_whatever_the_order() {
        let mut pool = GsiPool::new(24, 200).unwrap();
        let all: Vec<u32> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(all, (24..224).collect::<Vec<_>>());
        for gsi in [223, 24, 90, 88, 151] {
            pool.give_back(gsi);
        }
        let again: Vec<u32> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((again, pool.free()), (vec![24, 88, 90, 151, 223], 0));
    }

    #[test]
    fn the_pool_ends_where_kvm_ends() {
        assert_eq!(GsiPool::new(24, u32::MAX - 24).unwrap().free(), MAX_GSI - 24);
        assert!(GsiPool::new(MAX_GSI, 1).is_none());
        assert!(GsiPool::new(24, 0).is_none());
    }
}
