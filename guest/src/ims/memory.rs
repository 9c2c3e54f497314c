//! Slots in memory, which are reached by volatile pointers and never borrowed.
#![expect(unsafe_code, reason = "memory that a device reads is reached by volatile pointers")]

use super::layout::ImsLayout;
use super::slot::ImsSlot;
use crate::claims::{Claims, MAX_ENTRIES};
use crate::{Entry, Mask, Masked, Origin};
use core::ptr::NonNull;
use pvir_abi::{DeviceId, Pair};
use volatile::VolatilePtr;

/// An array of slots that one device reads, with one message in each: in the guest's RAM, or in memory of the device.
/// It owns no memory, and its slots do not borrow it: a driver owns them side by side, and drops them in any order.
///
/// A device that keeps a copy of a slot must be told when it changes: its driver then wraps [`ImsSlot`] in a store of
/// its own, which tells it.
#[derive(Debug)]
pub struct ImsMemory {
    array: SlotArray,
}

/// The array as the memory knows it, and each slot.
#[derive(Debug)]
pub(super) struct SlotArray {
    device: DeviceId,
    base: NonNull<u32>,
    slots: u32,
    layout: ImsLayout,
    claims: Claims,
}

// SAFETY: the memory belongs to no thread, and is good on every CPU.
unsafe impl Send for SlotArray {}
// SAFETY: every access is one volatile access of an aligned word; a claim says who may write which slot.
unsafe impl Sync for SlotArray {}

impl ImsMemory {
    /// The array of `slots` slots with this layout at `base`, which `device` reads; 2048 slots are used at most.
    /// Slots are masked, where they have a mask. `None` if words of the layout overlap or lie outside of the slot, or if
    /// there is no room for the claims (see [`PciError::TooManyEntries`](crate::PciError::TooManyEntries)).
    ///
    /// # Safety
    ///
    /// `base` must be aligned to 4 bytes, and valid on every CPU for volatile reads and writes of `slots` *
    /// [`ImsLayout::len`] words as long as this `ImsMemory` or an entry of it lives. No Rust object may live there, and nobody else but
    /// the device may write there.
    #[must_use]
    pub unsafe fn new(device: DeviceId, base: NonNull<u32>, slots: u32, layout: ImsLayout) -> Option<Self> {
        let fits = (slots as usize).checked_mul(layout.len)?.checked_mul(4)? <= isize::MAX as usize;
        if !fits || !layout.is_sound() {
            return None;
        }
        let slots = slots.min(MAX_ENTRIES);
        let array = SlotArray { device, base, slots, layout, claims: Claims::new(slots)? };
        (0..slots).for_each(|slot| array.set_mask(slot, Mask::Set));
        Some(Self { array })
    }

    /// Number of slots, 2048 at most.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.array.slots
    }

    /// Takes possession of slot `slot` for the device's IMS entry `index`, and masks it where it has a mask. `None`
    /// if the slot has an owner, does not exist, or does not stay masked. Slot and index need not agree (statement
    /// M8).
    #[must_use]
    pub fn claim(&self, slot: u32, index: u32) -> Option<Entry<ImsSlot, Masked>> {
        let array = &self.array;
        let there = slot < array.slots && array.claims.take(slot);
        let slot = there.then(|| ImsSlot::new(array.share(), slot, Origin::ims(array.device, index)))?;
        Entry::claim(slot).ok()
    }
}

impl SlotArray {
    fn share(&self) -> Self {
        Self { claims: self.claims.share(), ..*self }
    }

    pub(super) fn give(&self, slot: u32) {
        self.claims.give(slot);
    }

    pub(super) fn write_pair(&self, slot: u32, pair: Pair) {
        let [a0, a1, a2, a3, a4, a5, a6, a7] = pair.address.to_le_bytes();
        let words = [
            (Some(self.layout.address_low), u32::from_le_bytes([a0, a1, a2, a3])),
            (self.layout.address_high, u32::from_le_bytes([a4, a5, a6, a7])),
            (Some(self.layout.data), pair.data),
        ];
        for (word, value) in words {
            if let Some(register) = word.and_then(|word| self.word(slot, word)) {
                register.write(value);
            }
        }
    }

    pub(super) fn read_pair(&self, slot: u32) -> Pair {
        let read = |word| self.word(slot, word).map_or(u32::MAX, VolatilePtr::read);
        let high = self.layout.address_high.map_or(0, read);
        let address = u64::from(high) << 32 | u64::from(read(self.layout.address_low));
        Pair { address, data: read(self.layout.data) }
    }

    /// Sets or clears the mask bit and keeps the others. Nothing where there is no mask.
    pub(super) fn set_mask(&self, slot: u32, mask: Mask) {
        let Some(control) = self.layout.control else { return };
        if let Some(register) = self.word(slot, control.offset) {
            let others = register.read() & !control.mask;
            register.write(if mask == Mask::Set { others | control.mask } else { others });
        }
    }

    /// `None` where there is no mask. Where the memory is the device's, the read pushes out what it had sent before.
    pub(super) fn is_masked(&self, slot: u32) -> Option<bool> {
        let control = self.layout.control?;
        let masked = |register: VolatilePtr<'_, u32>| register.read() & control.mask == control.mask;
        Some(self.word(slot, control.offset).is_none_or(masked))
    }

    fn word(&self, slot: u32, word: usize) -> Option<VolatilePtr<'_, u32>> {
        if slot >= self.slots || word >= self.layout.len {
            return None;
        }
        let offset = (slot as usize).checked_mul(self.layout.len)?.checked_add(word)?;
        // SAFETY: `slot` is one of the slots, for which the pointer is valid by the promise of `new`, and `word` is in
        // it.
        let pointer = unsafe { self.base.add(offset) };
        // SAFETY: as above; the pointer is aligned because the base is.
        Some(unsafe { VolatilePtr::new(pointer) })
    }
}

impl Drop for SlotArray {
    fn drop(&mut self) {
        if self.claims.leave() {
            self.claims.free();
        }
    }
}
