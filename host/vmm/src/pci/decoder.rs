//! Which BAR an address belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::slot::PciSlot;
use crate::vm::memory::GuestRange;

/// A BAR that decodes.
#[derive(Clone)]
pub(crate) struct DecodedBar {
    pub(crate) slot: Arc<PciSlot>,
    pub(crate) bar: u8,
    range: GuestRange,
}

/// Ranges of one address space (memory or ports), none overlapping another.
#[derive(Default)]
pub(crate) struct Decoder {
    targets: BTreeMap<u64, DecodedBar>,
}

impl Decoder {
    /// Adds a BAR, or names the range that is in its way.
    pub(crate) fn insert(
        &mut self,
        range: GuestRange,
        slot: &Arc<PciSlot>,
        bar: u8,
    ) -> Result<(), GuestRange> {
        if let Some(other) = self.targets.values().find(|target| target.range.overlaps(&range)) {
            return Err(other.range);
        }
        self.targets.insert(range.start, DecodedBar { slot: Arc::clone(slot), bar, range });
        Ok(())
    }

    /// Forgets a BAR.
    pub(crate) fn remove(&mut self, slot: &PciSlot, bar: u8) {
        self.targets.retain(|_, target| target.bar != bar || target.slot.devfn() != slot.devfn());
    }

    /// The BAR that has all `size` bytes from `address` on, and the offset in it.
    pub(crate) fn find(&self, address: u64, size: usize) -> Option<(&DecodedBar, u64)> {
        let (_, target) = self.targets.range(..=address).next_back()?;
        let offset = address - target.range.start;
        let end = offset.checked_add(u64::try_from(size).ok()?)?;
        (end <= target.range.size).then_some((target, offset))
    }
}
