//! Words of bits that are taken for a store and given back, and bits of them that are taken for an entry: without a lock.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use core::ops::Range;

pub(crate) const FREE: u32 = 0;
/// Not [`FREE`]: between the last user's leave and [`Words::free`] the words are nobody else's.
const NO_USER: u32 = 1;
const ONE_USER: u32 = NO_USER + 1;
const REST: u32 = u32::MAX;

/// As many words of each kind.
pub(crate) struct Words<'a> {
    /// The bits, set for an entry that has an owner.
    pub(crate) owned: &'a [AtomicU64],
    /// For the first word of a store [`NO_USER`] and one more for each that uses it, [`REST`] for the other words of a
    /// store, [`FREE`] for the others.
    pub(crate) users: &'a [AtomicU32],
}

impl Words<'_> {
    /// Takes `words` words that follow each other, with one user. Answers with the first. `None` if there is no room for
    /// them.
    pub(crate) fn open(&self, words: usize) -> Option<usize> {
        let mut first = 0usize;
        loop {
            let users = self.users.get(first..first.checked_add(words)?)?;
            let reserved = users.iter().take_while(|users| reserve(users)).count();
            if reserved == words {
                users.first()?.store(ONE_USER, Ordering::Release);
                return Some(first);
            }
            users.iter().take(reserved).for_each(|users| users.store(FREE, Ordering::Release));
            first = first.checked_add(reserved)?.checked_add(1)?;
        }
    }

    /// One more user of the store whose first word this is.
    pub(crate) fn share(&self, first: usize) {
        if let Some(users) = self.users.get(first) {
            // No more than one for each entry, and one for the store.
            users.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One user less. `true` for the last, who then calls [`Words::free`]; until then the words are taken.
    pub(crate) fn leave(&self, first: usize) -> bool {
        // Acquire and release: what the others did comes before what the last one does.
        self.users.get(first).is_some_and(|users| users.fetch_sub(1, Ordering::AcqRel) == ONE_USER)
    }

    /// Gives words back, with all bits clear.
    pub(crate) fn free(&self, words: Range<usize>) {
        let owned = self.owned.get(words.clone());
        owned.into_iter().flatten().for_each(|word| word.store(0, Ordering::Relaxed));
        let users = self.users.get(words);
        users.into_iter().flatten().for_each(|users| users.store(FREE, Ordering::Release));
    }

    /// Takes bits of a word. `false` if one of them was taken, or there is no such word.
    pub(crate) fn take(&self, word: usize, bit: u64) -> bool {
        self.owned.get(word).is_some_and(|word| word.fetch_or(bit, Ordering::AcqRel) & bit == 0)
    }

    /// Gives bits of a word back.
    pub(crate) fn give(&self, word: usize, bit: u64) {
        if let Some(word) = self.owned.get(word) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }
}

/// Takes one word, if it is free.
fn reserve(users: &AtomicU32) -> bool {
    users.compare_exchange(FREE, REST, Ordering::Acquire, Ordering::Relaxed).is_ok()
}
