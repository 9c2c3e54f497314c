//! What sends, and the lines that it sends on: in one order, places first, then entries of the table.

use super::MAX_SENDERS;
use super::location::MessageLocation;
use crate::harness::counted_interrupt::CountedInterrupt;
use crate::harness::vectors::{Destination, Vectors};
use arrayvec::ArrayVec;
use pvir_guest::abi::Pair;
use pvir_guest::{Entry, Live, MsixEntry, Origin};

/// Places, or MSI-X entries.
const HALF: usize = MAX_SENDERS as usize;
/// Both together.
pub(super) const ALL: usize = 2 * HALF;

pub(super) type Lines = ArrayVec<CountedInterrupt, ALL>;

/// The entries that send.
pub(super) struct Senders<'t> {
    pub(super) places: ArrayVec<Entry<MessageLocation<'t>, Live>, HALF>,
    pub(super) entries: ArrayVec<Entry<MsixEntry<'t>, Live>, HALF>,
}

impl Senders<'_> {
    /// The pairs that they have, in order.
    pub(super) fn pairs(&self) -> ArrayVec<Pair, ALL> {
        let places = self.places.iter().map(|place| place.irte().pair());
        places.chain(self.entries.iter().map(|entry| entry.irte().pair())).collect()
    }
}

/// A line for each entry, on vectors that nobody else has, spread over the processors from number `shift` on.
pub(super) fn lines(origins: &[Origin], vectors: &mut Vectors, shift: usize) -> Option<Lines> {
    let first = vectors.take(origins.len())?;
    let places = (first..).enumerate().map_while(|(number, vector)| Destination::on(number + shift, vector));
    Some(origins.iter().zip(places).map(|(origin, place)| CountedInterrupt::new(*origin, place)).collect())
}
