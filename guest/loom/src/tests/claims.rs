//! Words and bits have one owner at a time.

use super::orders;
use crate::sync::{AtomicU32, AtomicU64};
use crate::words::{FREE, Words};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Memory<const N: usize> {
    owned: [AtomicU64; N],
    users: [AtomicU32; N],
}

impl<const N: usize> Memory<N> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            owned: std::array::from_fn(|_| AtomicU64::new(0)),
            users: std::array::from_fn(|_| AtomicU32::new(FREE)),
        })
    }

    fn words(&self) -> Words<'_> {
        Words { owned: &self.owned, users: &self.users }
    }
}

#[test]
fn stores_that_are_opened_at_the_same_time_have_words_of_their_own() {
    orders(|| {
        let memory = Memory::<3>::new();
        let other = Arc::clone(&memory);
        let second = thread::spawn(move || other.words().open(1));
        let first = memory.words().open(2);
        let second = second.join().unwrap();
        // What is turned away by the other's half-way try is told that there is no room, which there may be.
        if let (Some(first), Some(second)) = (first, second) {
            assert!(second < first || second >= first + 2, "{first} {second}");
        }
        assert!(first.is_some() || second.is_some(), "one of the two is served");
    });
}

#[test]
fn an_entry_has_one_owner() {
    orders(|| {
        let memory = Memory::<1>::new();
        let first = memory.words().open(1).unwrap();
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || other.words().take(first, 4));
        let here = memory.words().take(first, 4);
        assert_ne!(here, thread.join().unwrap());
        assert!(memory.words().take(first, 8), "the next bit is nobody's");
    });
}

/// What the owner of an entry has done to it is seen by the next owner.
#[test]
fn what_one_owner_has_done_the_next_one_sees() {
    orders(|| {
        let memory = Memory::<1>::new();
        let entry = Arc::new(UnsafeCell::new(0));
        let first = memory.words().open(1).unwrap();
        let use_it = move |memory: Arc<Memory<1>>, entry: Arc<UnsafeCell<u32>>| {
            if memory.words().take(first, 1) {
                // loom fails if the accesses of two owners are not ordered.
                entry.with_mut(|_| ());
                memory.words().give(first, 1);
            }
        };
        let (other_memory, other_entry) = (Arc::clone(&memory), Arc::clone(&entry));
        let thread = thread::spawn(move || use_it(other_memory, other_entry));
        use_it(memory, entry);
        thread.join().unwrap();
    });
}

/// The table is disabled and unmapped by the last share, after all that the others did.
#[test]
fn the_last_user_is_one_and_comes_after_the_others() {
    orders(|| {
        let memory = Memory::<1>::new();
        let device = Arc::new(UnsafeCell::new(0));
        let first = memory.words().open(1).unwrap();
        memory.words().share(first);
        memory.words().share(first);
        let drop_share = move |memory: &Memory<1>, device: &UnsafeCell<u32>| {
            device.with(|_| ());
            let last = memory.words().leave(first);
            if last {
                device.with_mut(|_| ());
            }
            usize::from(last)
        };
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (memory, device) = (Arc::clone(&memory), Arc::clone(&device));
                thread::spawn(move || drop_share(&memory, &device))
            })
            .collect();
        let mut last = drop_share(&memory, &device);
        last += threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>();
        assert_eq!(last, 1);
    });
}

/// Words that are given back are clear for whoever gets them, and nobody has them before.
#[test]
fn words_that_are_given_back_are_clear_for_the_next_store() {
    orders(|| {
        let memory = Memory::<1>::new();
        let first = memory.words().open(1).unwrap();
        assert!(memory.words().take(first, 1));
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || {
            if let Some(first) = other.words().open(1) {
                assert!(other.words().take(first, 1), "the bit of the store before");
            }
        });
        if memory.words().leave(first) {
            memory.words().free(first..first + 1);
        }
        thread.join().unwrap();
    });
}
