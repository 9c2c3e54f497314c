//! The MSI-X table and its pending bits in memory, which are reached by volatile pointers and never borrowed.
#![expect(unsafe_code, reason = "device memory is reached by volatile pointers")]

use crate::Mask;
use core::ptr::NonNull;
use pvir_abi::Pair;
use volatile::VolatilePtr;
use volatile::access::ReadOnly;

/// Bytes of an entry: address low, address high, data, vector control.
pub(super) const ENTRY_LEN: usize = 16;
/// Bit 0 of vector control: the entry is masked.
const MASK_BIT: u32 = 1;

/// A word of an entry.
#[derive(Clone, Copy)]
enum Word {
    AddressLow = 0,
    AddressHigh = 1,
    Data = 2,
    Control = 3,
}

/// A mapped table and its pending bits. Entries are reached by index; one beyond the end reads as all ones, masked,
/// and is not written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    table: NonNull<u32>,
    pending: NonNull<u32>,
    entries: u32,
}

// SAFETY: device memory belongs to no thread, and the mapping is good on every CPU.
unsafe impl Send for Memory {}
// SAFETY: every access is one volatile access of an aligned word; who may write which entry is the table's business.
unsafe impl Sync for Memory {}

impl Memory {
    /// # Safety
    ///
    /// `table` must be valid for volatile reads and writes of `entries` entries, and `pending` for volatile reads of
    /// as many bits, rounded up to 64, as long as this lives.
    pub(super) const unsafe fn new(table: NonNull<u32>, pending: NonNull<u32>, entries: u32) -> Self {
        Self { table, pending, entries }
    }

    /// The pointers, to be unmapped.
    pub(super) const fn pointers(&self) -> (NonNull<u32>, NonNull<u32>) {
        (self.table, self.pending)
    }

    pub(super) const fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) fn write_pair(&self, index: u32, pair: Pair) {
        let [a0, a1, a2, a3, a4, a5, a6, a7] = pair.address.to_le_bytes();
        let words = [
            (Word::AddressLow, u32::from_le_bytes([a0, a1, a2, a3])),
            (Word::AddressHigh, u32::from_le_bytes([a4, a5, a6, a7])),
            (Word::Data, pair.data),
        ];
        for (word, value) in words {
            if let Some(register) = self.register(index, word) {
                register.write(value);
            }
        }
    }

    pub(super) fn read_pair(&self, index: u32) -> Pair {
        let read = |word| self.register(index, word).map_or(u32::MAX, VolatilePtr::read);
        let address = u64::from(read(Word::AddressHigh)) << 32 | u64::from(read(Word::AddressLow));
        Pair { address, data: read(Word::Data) }
    }

    /// The read also pushes out what the device had sent before.
    pub(super) fn is_masked(&self, index: u32) -> bool {
        self.register(index, Word::Control).is_none_or(|control| control.read() & MASK_BIT != 0)
    }

    /// The bits of the control word that are not the mask: the specification asks that they be kept.
    pub(super) fn other_bits(&self, index: u32) -> u32 {
        self.register(index, Word::Control).map_or(0, |control| control.read() & !MASK_BIT)
    }

    /// Writes the mask bit, beside `other_bits`. Nothing is read: the write is posted.
    pub(super) fn set_mask(&self, index: u32, mask: Mask, other_bits: u32) {
        if let Some(control) = self.register(index, Word::Control) {
            control.write(if mask == Mask::Set { other_bits | MASK_BIT } else { other_bits });
        }
    }

    /// Sets the mask bit of an entry of which nothing is known. Returns whether it reads back as set.
    pub(super) fn mask(&self, index: u32) -> bool {
        self.set_mask(index, Mask::Set, self.other_bits(index));
        self.is_masked(index)
    }

    pub(super) fn is_pending(&self, index: u32) -> bool {
        let (word, bit) = (index / 32, index % 32);
        self.pending_word(index, word).is_some_and(|bits| bits.read() >> bit & 1 != 0)
    }

    fn register(&self, index: u32, word: Word) -> Option<VolatilePtr<'_, u32>> {
        if index >= self.entries {
            return None;
        }
        let offset = (index as usize).checked_mul(ENTRY_LEN / 4)?.checked_add(word as usize)?;
        // SAFETY: `index` is an entry of the table, which the pointer is valid for by the promise of `new`, and `word`
        // one of its four words.
        let pointer = unsafe { self.table.add(offset) };
        // SAFETY: as above; the pointer is aligned to 4 bytes because the table is.
        Some(unsafe { VolatilePtr::new(pointer) })
    }

    fn pending_word(&self, index: u32, word: u32) -> Option<VolatilePtr<'_, u32, ReadOnly>> {
        if index >= self.entries {
            return None;
        }
        // SAFETY: `index` is an entry of the table, and `word` holds its pending bit, which the pointer is valid for by
        // the promise of `new`.
        let pointer = unsafe { self.pending.add(word as usize) };
        // SAFETY: as above; aligned to 4 bytes because the array of bits is.
        Some(unsafe { VolatilePtr::new_read_only(pointer) })
    }
}
