//! Which entries of a store have an owner: a bit for each.

use core::sync::atomic::{AtomicU64, Ordering};

/// Number of entries in the largest store, which is the largest MSI-X table.
pub(crate) const MAX_ENTRIES: u32 = 2048;
/// Number of words that hold a bit for each of them.
const WORDS: usize = 32;

const _: () = assert!(WORDS * 64 == MAX_ENTRIES as usize);

#[derive(Debug)]
pub(crate) struct Claims {
    words: [AtomicU64; WORDS],
}

impl Claims {
    pub(crate) const fn new() -> Self {
        Self { words: [const { AtomicU64::new(0) }; WORDS] }
    }

    /// Takes entry `index`. `false` if it has an owner, or does not exist.
    pub(crate) fn take(&self, index: u32) -> bool {
        let (word, bit) = self.place(index);
        word.is_some_and(|word| word.fetch_or(bit, Ordering::AcqRel) & bit == 0)
    }

    /// Gives entry `index` back.
    pub(crate) fn give(&self, index: u32) {
        let (word, bit) = self.place(index);
        if let Some(word) = word {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    fn place(&self, index: u32) -> (Option<&AtomicU64>, u64) {
        (self.words.get(index as usize / 64), 1u64 << (index % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_one_owner_at_a_time() {
        let claims = Claims::new();
        assert!(claims.take(2047));
        assert!(!claims.take(2047));
        assert!(claims.take(2046));
        claims.give(2047);
        assert!(claims.take(2047));
        assert!(!claims.take(2048));
    }
}
