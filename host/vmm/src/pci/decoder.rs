//! Which BAR an address belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::slot::Slot;
use crate::vm::memory::Range;

/// A BAR that decodes.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) slot: Arc<Slot>,
    pub(crate) bar: u8,
    range: Range,
}

/// Ranges of one address space (memory or ports), none overlapping another.
#[derive(Default)]
pub(crate) struct Decoder {
    targets: BTreeMap<u64, Target>,
}

impl Decoder {
    /// Adds a BAR, or names the range that is in its way.
    pub(crate) fn insert(&mut self, range: Range, slot: &Arc<Slot>, bar: u8) -> Result<(), Range> {
        if let Some(other) = self.targets.values().find(|target| target.range.overlaps(&range)) {
            return Err(other.range);
        }
        self.targets.insert(range.start, Target { slot: Arc::clone(slot), bar, range });
        Ok(())
    }

    /// Forgets a BAR.
    pub(crate) fn remove(&mut self, slot: &Slot, bar: u8) {
        self.targets.retain(|_, target| target.bar != bar || target.slot.devfn() != slot.devfn());
    }

    /// The BAR that has all `size` bytes from `address` on, and the offset in it.
    pub(crate) fn find(&self, address: u64, size: usize) -> Option<(&Target, u64)> {
        let (_, target) = self.targets.range(..=address).next_back()?;
        let offset = address - target.range.start;
        let end = offset.checked_add(u64::try_from(size).ok()?)?;
        (end <= target.range.size).then_some((target, offset))
    }
}
