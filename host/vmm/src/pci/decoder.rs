//! Which BAR an address belongs to.

use std::collections::BTreeMap;

use pvir_host::function::BarRange;

/// Ranges of one address space (memory or ports), none overlapping another.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    ranges: BTreeMap<u64, BarRange>,
}

impl Decoder {
    /// Adds a BAR, or names the one that is in its way.
    pub(crate) fn insert(&mut self, range: &BarRange) -> Result<(), BarRange> {
        let overlaps = |other: &&BarRange| other.address < range.end() && range.address < other.end();
        if let Some(other) = self.ranges.values().find(overlaps) {
            return Err(*other);
        }
        self.ranges.insert(range.address, *range);
        Ok(())
    }

    /// Forgets a BAR.
    pub(crate) fn remove(&mut self, range: &BarRange) {
        if self.ranges.get(&range.address) == Some(range) {
            self.ranges.remove(&range.address);
        }
    }

    /// The BAR that has all `size` bytes from `address` on, and the offset in it.
    pub(crate) fn find(&self, address: u64, size: usize) -> Option<(&BarRange, u64)> {
        let (_, range) = self.ranges.range(..=address).next_back()?;
        Some((range, range.offset_of(address, size)?))
    }
}
