//! A region as the target of accesses that exited.

use super::RegionMap;

impl RegionMap {
    /// Reads bytes by the 32-bit words that they lie in; beyond the end zero.
    pub(crate) fn read_bytes(&self, offset: u64, data: &mut [u8]) {
        let mut at = offset;
        for byte in data {
            let word = self.read(at & !3).unwrap_or(0).to_le_bytes();
            *byte = word[(at & 3) as usize];
            at = at.wrapping_add(1);
        }
    }

    /// Writes whole aligned 32-bit words. Anything else is dropped: an MSI-X table takes no other (PCI Express Base
    /// Specification 6.0, section 7.7.2).
    pub(crate) fn write_words(&self, offset: u64, data: &[u8]) {
        if offset % 4 != 0 || data.len() % 4 != 0 {
            return;
        }
        for (word, at) in data.chunks_exact(4).zip((offset..).step_by(4)) {
            if let Ok(word) = word.try_into() {
                // Beyond the end there is nothing to write to.
                let _ = self.write(at, u32::from_le_bytes(word));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> RegionMap {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        RegionMap::new(&file, 0, 4096).unwrap()
    }

    #[test]
    fn bytes_are_read_from_their_words_and_nothing_behind_the_end() {
        let region = region();
        region.write(4092, 0x4433_2211).unwrap();
        let mut data = [9; 8];
        region.read_bytes(4093, &mut data);
        assert_eq!(data, [0x22, 0x33, 0x44, 0, 0, 0, 0, 0]);
        region.read_bytes(u64::MAX, &mut data);
        assert_eq!(data[0], 0);
    }

    #[test]
    fn only_whole_words_are_written() {
        let region = region();
        region.write_words(8, &[1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!((region.read(8).unwrap(), region.read(12).unwrap()), (1, 2));
        for (offset, len) in [(8, 1), (8, 2), (9, 4), (10, 2), (4096, 4), (u64::MAX - 3, 4)] {
            region.write_words(offset, &vec![0xff; len]);
        }
        assert_eq!(region.read(8).unwrap(), 1);
    }
}
