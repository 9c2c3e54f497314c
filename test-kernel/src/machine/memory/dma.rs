//! Memory that a device reads or writes by itself: pages that nothing else uses, reached by volatile accesses.

#![expect(unsafe_code, reason = "pages of physical memory as volatile words")]

use super::frames::{self, PAGE};
use core::ptr::NonNull;
use volatile::VolatilePtr;

/// Pages for a device, zero at first and never given back. Copies reach the same memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dma {
    base: NonNull<u8>,
    length: u64,
}

// SAFETY: plain addresses; concurrent volatile accesses are the driver's to order.
unsafe impl Send for Dma {}
// SAFETY: as above: every access is one volatile access of an aligned word.
unsafe impl Sync for Dma {}

impl Dma {
    /// As many pages as `length` bytes need.
    pub(crate) fn allocate(length: u64) -> Option<Self> {
        let pages = length.div_ceil(PAGE);
        Some(Self { base: frames::allocate_zeroed(pages)?, length: pages * PAGE })
    }

    /// Where the device finds it.
    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Writes the word at `offset`; nothing outside.
    pub(crate) fn write(&self, offset: u64, value: u32) {
        if let Some(word) = self.word(offset) {
            word.write(value);
        }
    }

    /// Reads the word at `offset`; 0 outside.
    pub(crate) fn read(&self, offset: u64) -> u32 {
        self.word(offset).map_or(0, VolatilePtr::read)
    }

    /// The word at `offset`, if it is aligned and inside.
    fn word(&self, offset: u64) -> Option<VolatilePtr<'_, u32>> {
        let end = offset.checked_add(4)?;
        if offset % 4 != 0 || end > self.length {
            return None;
        }
        let at = NonNull::new((self.address() + offset) as *mut u32)?;
        // SAFETY: aligned, and in pages that were allocated for this and are never freed; any bits are a valid u32.
        Some(unsafe { VolatilePtr::new(at) })
    }
}
