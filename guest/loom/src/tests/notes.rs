//! The ledger never takes what is new for a repetition, whatever is noted at the same time.

use super::orders;
use crate::ledger::notes::{Held, Notes};
use crate::ledger::set::{FREE, Set};
use crate::sync::{AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;

/// As few as show it: each is a step of every clearing.
const WAYS: usize = 2;

struct Memory {
    epoch: AtomicU64,
    noting: AtomicU64,
    handles: [[AtomicU64; WAYS]; 1],
    pairs: [[AtomicU64; WAYS]; 1],
}

impl Memory {
    fn new(epoch: u64) -> Arc<Self> {
        let bucket = || [std::array::from_fn(|_| AtomicU64::new(FREE))];
        let memory =
            Self { epoch: AtomicU64::new(0), noting: AtomicU64::new(0), handles: bucket(), pairs: bucket() };
        memory.notes().begin(epoch);
        Arc::new(memory)
    }

    fn notes(&self) -> Notes<'_, WAYS> {
        Notes {
            epoch: &self.epoch,
            noting: &self.noting,
            handles: Set(&self.handles),
            pairs: Set(&self.pairs),
        }
    }
}

const PAIR: Option<u64> = Some(7);

/// What is noted by others is no repetition, and is all there afterwards.
#[test]
fn what_two_note_at_the_same_time_is_noted() {
    orders(|| {
        let memory = Memory::new(1);
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || other.notes().note(1, 10, PAIR));
        assert_eq!(memory.notes().note(1, 11, Some(8)), Ok(()));
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert_eq!(memory.notes().note(1, 10, Some(9)), Err(Held::Handle));
        assert_eq!(memory.notes().note(1, 12, PAIR), Err(Held::Pair));
        assert_eq!(memory.notes().note(1, 12, Some(8)), Err(Held::Pair));
    });
}

/// A pair is given back before UNMAP, after which the host may give it to another CPU.
#[test]
fn what_was_given_back_is_new_for_another_cpu() {
    orders(|| {
        let memory = Memory::new(1);
        assert_eq!(memory.notes().note(1, 10, PAIR), Ok(()));
        let given_back = Arc::new(AtomicU64::new(0));
        let (other, seen) = (Arc::clone(&memory), Arc::clone(&given_back));
        let thread = thread::spawn(move || {
            if seen.load(Ordering::Acquire) == 1 {
                assert_eq!(other.notes().note(1, 11, PAIR), Ok(()));
            }
        });
        memory.notes().forget(10, PAIR);
        given_back.store(1, Ordering::Release);
        thread.join().unwrap();
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

/// Two late ones, and the later epoch between them.
#[test]
fn a_second_one_that_is_late_changes_nothing() {
    orders(|| {
        let memory = Memory::new(1);
        let threads: Vec<_> = [10, 11]
            .map(|handle| {
                let late = Arc::clone(&memory);
                thread::spawn(move || late.notes().note(1, handle, None))
            })
            .into();
        assert_eq!(
            memory.notes().note(2, 10, None),
            Ok(()),
            "handles of a VM that was restored may come again"
        );
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
        memory.notes().forget(10, None);
        assert_eq!(memory.notes().note(2, 10, None), Ok(()));
        assert_eq!(memory.notes().note(2, 11, None), Ok(()));
    });
}
