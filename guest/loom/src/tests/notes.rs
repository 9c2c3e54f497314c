//! The ledger never takes what is new for a repetition, whatever is noted at the same time.

use super::orders;
use crate::ledger::notes::{Held, Notes};
use crate::ledger::set::{Bucket, FREE, Set};
use crate::sync::AtomicU64;
use loom::sync::Arc;
use loom::thread;

struct Memory {
    epoch: AtomicU64,
    handles: [Bucket; 1],
    pairs: [Bucket; 1],
}

impl Memory {
    fn new(epoch: u64) -> Arc<Self> {
        let bucket = || [std::array::from_fn(|_| AtomicU64::new(FREE))];
        Arc::new(Self { epoch: AtomicU64::new(epoch), handles: bucket(), pairs: bucket() })
    }

    fn notes(&self) -> Notes<'_> {
        Notes { epoch: &self.epoch, handles: Set(&self.handles), pairs: Set(&self.pairs) }
    }
}

const PAIR: Option<u64> = Some(7);

#[test]
fn a_pair_that_is_given_to_two_at_the_same_time_is_found() {
    orders(|| {
        let memory = Memory::new(1);
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || other.notes().note(1, 10, PAIR));
        let here = memory.notes().note(1, 11, PAIR);
        let there = thread.join().unwrap();
        assert!(here.is_err() || there.is_err(), "both were told that it is new");
    });
}

/// Places of a set become free while others look for one.
#[test]
fn a_handle_that_is_given_twice_is_found_while_another_is_forgotten() {
    orders(|| {
        let memory = Memory::new(1);
        assert!(memory.notes().handles.insert(1));
        let (second, third) = (Arc::clone(&memory), Arc::clone(&memory));
        let forgets = thread::spawn(move || third.notes().handles.remove(1));
        let thread = thread::spawn(move || second.notes().handles.insert(5));
        let here = memory.notes().handles.insert(5);
        let there = thread.join().unwrap();
        forgets.join().unwrap();
        assert!(!(here && there), "both were told that it is new");
        assert!(memory.notes().handles.insert(1), "what was forgotten is new");
    });
}

/// An answer of before an event is noted late: the host may give its pair again.
#[test]
fn what_comes_late_from_an_earlier_epoch_is_no_repetition_and_makes_none() {
    orders(|| {
        let memory = Memory::new(1);
        let late = Arc::clone(&memory);
        let thread = thread::spawn(move || late.notes().note(1, 10, PAIR));
        let now = memory.notes().note(2, 11, PAIR);
        assert_eq!(thread.join().unwrap(), Ok(()), "it was new when it was given");
        assert_eq!(now, Ok(()), "the pair may be given again in the later epoch");
        // Given back and given again.
        memory.notes().forget(11, PAIR);
        assert_eq!(memory.notes().note(2, 12, PAIR), Ok(()), "nothing of the earlier epoch is left");
        assert_eq!(memory.notes().note(2, 13, PAIR), Err(Held::Pair));
    });
}
