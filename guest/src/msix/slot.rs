//! One entry of the MSI-X table, as an entry of a store.

use super::share::Share;
use crate::{Mask, Origin, Platform, StoreEntry};
use core::fmt;
use pvir_abi::Pair;

/// One entry of an MSI-X table, owned: nobody else writes it. It is masked when this is dropped.
///
/// It borrows nothing, and keeps the table mapped and MSI-X enabled also when the
/// [`MsixTable`](crate::MsixTable) is dropped before.
pub struct MsixEntry<P: Platform> {
    share: Share<P>,
    index: u32,
    /// The bits of the control word beside the mask. They do not change while the entry has an owner, so that masking
    /// needs not read them.
    other_bits: u32,
}

impl<P: Platform + Clone> MsixEntry<P> {
    /// The owner of entry `index`, unless it has one already or does not exist.
    pub(super) fn take(share: &Share<P>, index: u32) -> Option<Self> {
        let there = index < share.memory.entries() && share.claims.take(index);
        there.then(|| Self { share: share.clone(), index, other_bits: share.memory.other_bits(index) })
    }
}

impl<P: Platform> StoreEntry for MsixEntry<P> {
    fn origin(&self) -> Origin {
        Origin::msix(self.share.function.device, self.index)
    }

    fn write(&mut self, pair: Pair) {
        self.share.memory.write_pair(self.index, pair);
    }

    fn read(&self) -> Pair {
        self.share.memory.read_pair(self.index)
    }

    fn set_mask(&self, mask: Mask) {
        self.share.memory.set_mask(self.index, mask, self.other_bits);
    }

    fn mask(&self) -> Option<Mask> {
        Some(if self.share.memory.is_masked(self.index) { Mask::Set } else { Mask::Clear })
    }

    fn is_pending(&self) -> Option<bool> {
        Some(self.share.memory.is_pending(self.index))
    }
}

impl<P: Platform> Drop for MsixEntry<P> {
    fn drop(&mut self) {
        let Share { memory, claims, .. } = &self.share;
        if memory.is_masked(self.index) || memory.mask(self.index) {
            claims.give(self.index);
        } else {
            // It may still send: nobody else gets it.
            log::error!("pvir: {} does not stay masked; it is not given out again", self.origin());
        }
    }
}

impl<P: Platform> fmt::Debug for MsixEntry<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsixEntry").field("origin", &self.origin()).finish_non_exhaustive()
    }
}
