//! One slot, as an entry of a store.

use super::memory::SlotArray;
use crate::{Mask, Origin, StoreEntry};
use pvir_abi::Pair;

/// One slot of an [`ImsMemory`](crate::ImsMemory), owned: nobody else writes it. It is masked when this is dropped,
/// where it has a mask.
#[derive(Debug)]
pub struct ImsSlot {
    array: SlotArray,
    slot: u32,
    origin: Origin,
}

impl ImsSlot {
    /// The owner of a slot, which was claimed.
    pub(super) const fn new(array: SlotArray, slot: u32, origin: Origin) -> Self {
        Self { array, slot, origin }
    }

    /// Number of the slot.
    #[must_use]
    pub const fn slot(&self) -> u32 {
        self.slot
    }
}

impl StoreEntry for ImsSlot {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn write(&mut self, pair: Pair) {
        self.array.write_pair(self.slot, pair);
    }

    fn read(&self) -> Pair {
        self.array.read_pair(self.slot)
    }

    fn set_mask(&self, mask: Mask) {
        self.array.set_mask(self.slot, mask);
    }

    fn mask(&self) -> Option<Mask> {
        self.array.is_masked(self.slot).map(|masked| if masked { Mask::Set } else { Mask::Clear })
    }

    /// Memory does not tell.
    fn is_pending(&self) -> Option<bool> {
        None
    }
}

impl Drop for ImsSlot {
    fn drop(&mut self) {
        self.array.set_mask(self.slot, Mask::Set);
        if self.array.is_masked(self.slot) == Some(false) {
            // It may still send: nobody else gets it.
            log::error!(
                "pvir: slot {} of {} does not stay masked; it is not given out again",
                self.slot,
                self.origin
            );
        } else {
            self.array.give(self.slot);
        }
    }
}
