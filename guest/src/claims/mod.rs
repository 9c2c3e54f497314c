//! Which entries of a store have an owner: a bit for each.
//!
//! A store and its entries belong to a driver by value, and are dropped in any order. What they share lies here, in
//! static memory: the bits, and how many still use them. It is taken when a store is opened, and given back by the last
//! that is dropped, so that nothing is allocated and nothing is borrowed.

mod words;

use crate::sync::{AtomicU32, AtomicU64};
use words::{FREE, Words};

/// Number of entries in the largest store, which is the largest MSI-X table.
pub(crate) const MAX_ENTRIES: u32 = 2048;
/// Number of words, with a bit for each entry of the stores that are open at the same time: 65,536 entries, which is
/// more than a host has IRTEs for.
const WORDS: usize = 1024;

static OWNED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
static USERS: [AtomicU32; WORDS] = [const { AtomicU32::new(FREE) }; WORDS];

const ALL: Words<'static> = Words { owned: &OWNED, users: &USERS };

/// The bits of one store, as one of its users knows them: the store itself, or an entry.
///
/// Whoever has one calls [`Claims::leave`] when it is dropped.
#[derive(Debug)]
pub(crate) struct Claims {
    first: usize,
    words: usize,
}

impl Claims {
    /// The bits of a store with `entries` entries, with one user. `None` if there is no room for them.
    pub(crate) fn new(entries: u32) -> Option<Self> {
        let words = entries.min(MAX_ENTRIES).div_ceil(64).max(1) as usize;
        let first = ALL.open(words)?;
        Some(Self { first, words })
    }

    /// The same bits, for one more user.
    pub(crate) fn share(&self) -> Self {
        ALL.share(self.first);
        Self { ..*self }
    }

    /// Ends the use. `true` for the last user, which then calls [`Claims::free`]; until it does so the words are taken.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        ALL.leave(self.first)
    }

    /// Gives the words back. Only the last user calls it, after all that it has to do for the store.
    pub(crate) fn free(&self) {
        ALL.free(self.first..self.first.saturating_add(self.words));
    }

    /// Takes entry `index`. `false` if it has an owner, or does not exist.
    pub(crate) fn take(&self, index: u32) -> bool {
        self.place(index).is_some_and(|(word, bit)| ALL.take(word, bit))
    }

    /// Gives entry `index` back.
    pub(crate) fn give(&self, index: u32) {
        if let Some((word, bit)) = self.place(index) {
            ALL.give(word, bit);
        }
    }

    fn place(&self, index: u32) -> Option<(usize, u64)> {
        let word = (index / 64) as usize;
        let inside = (word < self.words).then(|| self.first.checked_add(word)).flatten();
        inside.map(|word| (word, 1 << (index % 64)))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::thread;
    use std::vec::Vec;

    fn end(claims: &Claims) {
        assert!(claims.leave());
        claims.free();
    }

    #[test]
    fn an_entry_has_one_owner_at_a_time() {
        let claims = Claims::new(2048).unwrap();
        assert!(claims.take(2047));
        assert!(!claims.take(2047));
        assert!(claims.take(2046));
        claims.give(2047);
        assert!(claims.take(2047));
        assert!(!claims.take(2048));
        end(&claims);
    }

    #[test]
    fn the_last_user_is_told_and_nobody_else() {
        let claims = Claims::new(3).unwrap();
        let shares: Vec<_> = (0..50).map(|_| claims.share()).collect();
        let last: usize = thread::scope(|scope| {
            let leave = |share: Claims| usize::from(share.leave());
            let threads: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || leave(share))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(last, 0);
        end(&claims);
    }

    #[test]
    fn what_was_claimed_of_one_store_is_free_in_the_next() {
        let claims = Claims::new(64).unwrap();
        assert!(claims.take(0));
        end(&claims);
        let stores: Vec<_> = (0..100).map(|_| Claims::new(64).unwrap()).collect();
        assert!(stores.iter().all(|claims| claims.take(0) && claims.take(63) && !claims.take(64)));
        stores.iter().for_each(end);
    }

    #[test]
    fn words_that_are_being_given_back_are_nobody_elses_yet() {
        let open_and_close = || {
            for _ in 0..20_000 {
                let claims = Claims::new(64).unwrap();
                assert!(claims.take(5), "another store has this bit");
                end(&claims);
            }
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(open_and_close);
            }
        });
    }

    #[test]
    fn stores_that_are_opened_at_the_same_time_have_bits_of_their_own() {
        let taken = thread::scope(|scope| {
            let open = || (0..20).map(|_| Claims::new(130).unwrap()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(taken.iter().all(|claims| claims.take(129)));
        taken.iter().for_each(end);
    }
}
