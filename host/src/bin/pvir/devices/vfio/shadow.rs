//! The MSI-X table that a guest sees before it has the real one: kept and read back, never acting.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::layout::ENTRY;

/// Word of an entry that holds its mask bit, and the only bit of it that is kept.
const CONTROL: usize = 3;
const MASK: u32 = 1;
const WORDS: usize = (ENTRY / 4) as usize;

/// The words of all entries.
#[derive(Debug)]
pub(crate) struct ShadowTable(Vec<AtomicU32>);

impl ShadowTable {
    /// As after a reset of the device: all masked, the rest zero.
    pub(crate) fn new(entries: u32) -> Self {
        let table = Self((0..entries as usize * WORDS).map(|_| AtomicU32::new(0)).collect());
        table.reset();
        table
    }

    /// As new.
    pub(crate) fn reset(&self) {
        for (place, word) in self.0.iter().enumerate() {
            word.store(if place % WORDS == CONTROL { MASK } else { 0 }, Relaxed);
        }
    }

    /// Reads bytes; zero behind the last entry.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            let word = self.word(at).map_or(0, |(_, word)| word.load(Relaxed));
            *byte = word.to_le_bytes()[(at % 4) as usize];
        }
    }

    /// Writes whole aligned words; others are dropped.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) {
        if offset % 4 != 0 || data.len() % 4 != 0 {
            return;
        }
        for (bytes, at) in data.chunks_exact(4).zip((offset..).step_by(4)) {
            if let (Some((place, word)), Ok(bytes)) = (self.word(at), bytes.try_into()) {
                let kept = if place % WORDS == CONTROL { MASK } else { u32::MAX };
                word.store(u32::from_le_bytes(bytes) & kept, Relaxed);
            }
        }
    }

    fn word(&self, offset: u64) -> Option<(usize, &AtomicU32)> {
        let place = usize::try_from(offset / 4).ok()?;
        Some((place, self.0.get(place)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(table: &ShadowTable, index: u64) -> [u32; 4] {
        let mut bytes = [0xee; 16];
        table.read(index * 16, &mut bytes);
        std::array::from_fn(|word| u32::from_le_bytes(bytes[word * 4..][..4].try_into().unwrap()))
    }

    #[test]
    fn all_are_masked_at_first_and_again_after_a_reset() {
        let table = ShadowTable::new(10);
        table.write(9 * 16 + 8, &[5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((entry(&table, 0), entry(&table, 9)), ([0, 0, 0, 1], [0, 0, 5, 0]));
        table.reset();
        assert_eq!(entry(&table, 9), [0, 0, 0, 1]);
    }

    #[test]
    fn entries_are_kept_but_reserved_bits_are_not() {
        let table = ShadowTable::new(2);
        table.write(16, &[0xff; 16]);
        assert_eq!(entry(&table, 1), [u32::MAX, u32::MAX, u32::MAX, 1]);
        assert_eq!(entry(&table, 0), [0, 0, 0, 1]);
    }

    #[test]
    fn parts_of_words_are_dropped_and_behind_the_end_is_nothing() {
        let table = ShadowTable::new(1);
        table.write(0, &[1, 2]);
        table.write(2, &[1, 2, 3, 4]);
        table.write(16, &[0xff; 4]);
        assert_eq!((entry(&table, 0), entry(&table, 1)), ([0, 0, 0, 1], [0; 4]));
    }
}
