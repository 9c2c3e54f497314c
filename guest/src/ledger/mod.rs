//! What the guest holds, so that no later answer of the host names it again.

mod notes;
mod set;

use crate::sync::AtomicU64;
use crate::{ContractViolation, Irte};
use notes::{Held, Notes};
use set::{FREE, Set};

/// Values that lie at one place of a set.
const WAYS: usize = 8;
/// Segments whose pairs are noted: the number must fit the value, beside BDF, address and data.
const SEGMENTS: u16 = (1 << 14) - 1;

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
/// UNMAP that failed has left, of what is answered to two CPUs at the same moment, and of pairs of devices in segments above
/// 16,382.
#[derive(Debug)]
pub struct IrteLedger<const BUCKETS: usize> {
    /// The epoch of what is noted.
    epoch: AtomicU64,
    /// How many are noting at this moment.
    noting: AtomicU64,
    handles: [[AtomicU64; WAYS]; BUCKETS],
    pairs: [[AtomicU64; WAYS]; BUCKETS],
}

impl<const BUCKETS: usize> IrteLedger<BUCKETS> {
    /// An empty ledger, for a `static`.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(BUCKETS > 0) };
        Self {
            epoch: AtomicU64::new(0),
            noting: AtomicU64::new(0),
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
pub(crate) struct Ledger(Notes<'static, WAYS>);

impl Ledger {
    pub(crate) fn new<const BUCKETS: usize>(of: &'static IrteLedger<BUCKETS>) -> Self {
        let IrteLedger { epoch, noting, handles, pairs } = of;
        Self(Notes { epoch, noting, handles: Set(handles), pairs: Set(pairs) })
    }

    /// Notes an IRTE that the host has just given.
    pub(crate) fn note(&self, irte: &Irte) -> Result<(), ContractViolation> {
        let &Irte { origin, handle, pair, epoch, .. } = irte;
        self.0.note(epoch, handle.0, pair_value(irte)).map_err(|held| match held {
            Held::Handle => ContractViolation::HandleHeld { origin, handle },
            Held::Pair => ContractViolation::PairHeld { origin, pair },
        })
    }

    /// Forgets an IRTE that is about to be given back: the host may give the same pair again.
    pub(crate) fn forget(&self, irte: &Irte) {
        self.0.forget(irte.handle.0, pair_value(irte));
    }

    /// Forgets everything: a device was given back, and whoever held its IRTEs may have dropped them.
    pub(crate) fn forget_all(&self) {
        self.0.clear();
    }

    /// Forgets everything, and begins with the epoch of an ENABLE.
    pub(crate) fn begin(&self, epoch: u64) {
        self.0.begin(epoch);
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
