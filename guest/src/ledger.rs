//! What the guest holds, so that no later answer of the host names it again.

use crate::{ContractViolation, Irte};
use core::cmp;
use core::sync::atomic::{AtomicU64, Ordering};

/// Values that lie at one place of a set.
const WAYS: usize = 8;
/// Nothing lies here. No value of the two sets is 0.
const FREE: u64 = 0;
/// Segments whose pairs are noted: the number must fit the value, beside BDF, address and data.
const SEGMENTS: u16 = (1 << 14) - 1;

type Bucket = [AtomicU64; WAYS];

/// The handles and the pairs of the IRTEs that the guest holds, in memory of the kernel's choice. With one
/// ([`EnableOptions::with_ledger`](crate::EnableOptions::with_ledger)) handles and pairs are compared with those of all
/// earlier batches; without one, with those of the same batch.
///
/// It is a set without a lock: eight values lie at each of `BUCKETS` places, and a value beyond that is not noted. So
/// it sees every repetition among what it holds, and never takes a new value for a repetition. With as many places as
/// there are IRTEs at most, hardly any value is left out; an eighth of that does where a few may be. Each place takes
/// 128 bytes.
///
/// What it does not see: a repetition of what was mapped before an event, a DETACH or by another session, of what an
/// UNMAP that failed has left, and of pairs of devices in segments above 16,382.
#[derive(Debug)]
pub struct IrteLedger<const BUCKETS: usize> {
    /// The epoch of what is noted.
    epoch: AtomicU64,
    handles: [Bucket; BUCKETS],
    pairs: [Bucket; BUCKETS],
}

impl<const BUCKETS: usize> IrteLedger<BUCKETS> {
    /// An empty ledger, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(BUCKETS > 0) };
        Self {
            epoch: AtomicU64::new(0),
            handles: [const { [const { AtomicU64::new(FREE) }; WAYS] }; BUCKETS],
            pairs: [const { [const { AtomicU64::new(FREE) }; WAYS] }; BUCKETS],
        }
    }
}

impl<const BUCKETS: usize> Default for IrteLedger<BUCKETS> {
    fn default() -> Self {
        Self::new()
    }
}

/// A ledger of any size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ledger {
    epoch: &'static AtomicU64,
    handles: Set,
    pairs: Set,
}

impl Ledger {
    pub(crate) fn new<const BUCKETS: usize>(of: &'static IrteLedger<BUCKETS>) -> Self {
        Self { epoch: &of.epoch, handles: Set(&of.handles), pairs: Set(&of.pairs) }
    }

    /// Notes an IRTE that the host has just given.
    pub(crate) fn note(&self, irte: &Irte) -> Result<(), ContractViolation> {
        match self.epoch.fetch_max(irte.epoch, Ordering::Relaxed).cmp(&irte.epoch) {
            // Pairs may have gone stale, and whoever held them may have dropped them.
            cmp::Ordering::Less => self.clear(),
            cmp::Ordering::Equal => {}
            cmp::Ordering::Greater => return Ok(()),
        }
        if !self.handles.insert(irte.handle.0) {
            return Err(ContractViolation::HandleHeld { origin: irte.origin, handle: irte.handle });
        }
        match pair_value(irte) {
            Some(value) if !self.pairs.insert(value) => {
                self.handles.remove(irte.handle.0);
                Err(ContractViolation::PairHeld { origin: irte.origin, pair: irte.pair })
            }
            _ => Ok(()),
        }
    }

    /// Forgets an IRTE that is about to be given back: the host may give the same pair again.
    pub(crate) fn forget(&self, irte: &Irte) {
        self.handles.remove(irte.handle.0);
        pair_value(irte).into_iter().for_each(|value| self.pairs.remove(value));
    }

    /// Forgets everything: a device was given back, and whoever held its IRTEs may have dropped them.
    pub(crate) fn forget_all(&self) {
        self.clear();
    }

    /// Forgets everything, and begins with the epoch of an ENABLE.
    pub(crate) fn begin(&self, epoch: u64) {
        self.clear();
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.handles.clear();
        self.pairs.clear();
    }
}

/// The pair of a device as one number, which no other pair of any device has. The address is in the message window and a
/// multiple of 4, and the data below 0x10000 (statement M9): 18 and 16 bits, beside 16 of the BDF and 14 of the segment.
fn pair_value(irte: &Irte) -> Option<u64> {
    let device = irte.origin.device;
    let segment = (device.segment < SEGMENTS).then(|| u64::from(device.segment))?;
    let address = irte.pair.address >> 2 & 0x3_ffff;
    let value = segment << 50 | u64::from(device.bdf.0) << 34 | address << 16 | u64::from(irte.pair.data);
    // Complemented, only what has all bits set would be 0, and no segment that is noted has.
    Some(!value)
}

/// A set of numbers other than 0.
#[derive(Clone, Copy, Debug)]
struct Set(&'static [Bucket]);

impl Set {
    /// Whether the value is new. It is noted if there is room for it.
    fn insert(&self, value: u64) -> bool {
        let Some(bucket) = self.bucket(value) else { return true };
        if bucket.iter().any(|way| way.load(Ordering::Relaxed) == value) {
            return false;
        }
        for way in bucket {
            if way.compare_exchange(FREE, value, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        true
    }

    fn remove(&self, value: u64) {
        for way in self.bucket(value).into_iter().flatten() {
            let _ = way.compare_exchange(value, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn clear(&self) {
        self.0.iter().flatten().for_each(|way| way.store(FREE, Ordering::Relaxed));
    }

    fn bucket(&self, value: u64) -> Option<&'static Bucket> {
        // Fibonacci hashing (Knuth, The Art of Computer Programming, vol. 3, section 6.4): the upper half is mixed best.
        let mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let place = usize::try_from(mixed).ok()?.checked_rem(self.0.len())?;
        self.0.get(place)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::{Origin, Target};
    use proptest::prelude::*;
    use pvir_abi::{Bdf, DeviceId, Handle, Pair};
    use std::boxed::Box;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn ledger<const BUCKETS: usize>() -> Ledger {
        Ledger::new(Box::leak(Box::new(IrteLedger::<BUCKETS>::new())))
    }

    fn irte(segment: u16, bdf: u16, handle: u64, address: u64, data: u32) -> Irte {
        Irte {
            origin: Origin::msix(DeviceId::new(segment, Bdf(bdf)), 0),
            handle: Handle(handle),
            pair: Pair { address, data },
            target: Target::Parked,
            epoch: 1,
            existing: false,
        }
    }

    #[test]
    fn a_handle_or_a_pair_is_new_once() {
        let ledger = ledger::<16>();
        let first = irte(0, 8, 1, 0xfee0_0010, 0);
        assert_eq!(ledger.note(&first), Ok(()));
        let (origin, handle, pair) = (first.origin, first.handle, first.pair);
        let same_handle = irte(0, 8, 1, 0xfee0_0030, 0);
        assert_eq!(ledger.note(&same_handle), Err(ContractViolation::HandleHeld { origin, handle }));
        let same_pair = irte(0, 8, 2, 0xfee0_0010, 0);
        assert_eq!(ledger.note(&same_pair), Err(ContractViolation::PairHeld { origin, pair }));
        assert_eq!(ledger.note(&irte(0, 16, 3, 0xfee0_0010, 0)), Ok(()), "another device's");
        ledger.forget(&first);
        assert_eq!(ledger.note(&irte(0, 8, 4, 0xfee0_0010, 0)), Ok(()), "given back and given again");
    }

    #[test]
    fn what_was_mapped_in_an_earlier_epoch_is_forgotten() {
        let ledger = ledger::<16>();
        let first = irte(0, 8, 1, 0xfee0_0010, 0);
        let in_epoch = |epoch, handle| Irte { epoch, ..irte(0, 8, handle, 0xfee0_0010, 0) };
        assert_eq!(ledger.note(&first), Ok(()));
        assert_eq!(ledger.note(&in_epoch(2, 2)), Ok(()), "the pair may be given again");
        assert!(ledger.note(&in_epoch(2, 3)).is_err());
        assert_eq!(ledger.note(&in_epoch(1, 4)), Ok(()), "an answer from before is not noted");
    }

    #[test]
    fn pairs_of_the_first_device_and_of_high_segments_are_no_exception() {
        let ledger = ledger::<16>();
        let zero = |handle| irte(0, 0, handle, 0xfee0_0000, 0);
        assert_eq!((ledger.note(&zero(1)), ledger.note(&zero(2)).is_err()), (Ok(()), true));
        let last = |handle| irte(SEGMENTS - 1, u16::MAX, handle, 0xfeef_fffc, 0xffff);
        assert_eq!((ledger.note(&last(3)), ledger.note(&last(4)).is_err()), (Ok(()), true));
        let beyond = |handle| irte(SEGMENTS, 0, handle, 0xfee0_0000, 0);
        assert_eq!((ledger.note(&beyond(5)), ledger.note(&beyond(6))), (Ok(()), Ok(())), "not noted");
    }

    #[test]
    fn as_many_places_as_irtes_hold_nearly_all() {
        let ledger = ledger::<4096>();
        let all = |base: u64| {
            (0..4096u64).map(move |n| irte(0, 8, base + (1 << 32 | n), 0xfee0_0010 | (n & 0x7fff) << 5, 0))
        };
        assert!(all(0).all(|irte| ledger.note(&irte).is_ok()));
        let seen = all(1 << 40).filter(|irte| ledger.note(irte).is_err()).count();
        assert!(seen >= 4090, "{seen} of 4096 repetitions seen");
    }

    proptest! {
        #[test]
        fn it_never_takes_a_new_value_for_a_repetition(values: Vec<(bool, u8)>) {
            let ledger = ledger::<2>();
            let mut held = BTreeSet::new();
            for (forget, number) in values {
                let irte = irte(0, 8, u64::from(number) + 1, 0xfee0_0000 | u64::from(number) << 5, 0);
                if forget {
                    ledger.forget(&irte);
                    held.remove(&number);
                } else if ledger.note(&irte).is_err() {
                    prop_assert!(held.contains(&number));
                } else {
                    held.insert(number);
                }
            }
        }
    }
}
