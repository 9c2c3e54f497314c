//! What sends, and the lines that it sends on: in one order, places first, then entries of the table.

use super::MAX_SENDERS;
use crate::harness::counted_interrupt::CountedInterrupt;
use crate::harness::vectors::{Destination, Vectors};
use crate::machine::devices::ImsLocation;
use crate::remapping::Kernel;
use arrayvec::ArrayVec;
use pvir_guest::abi::Pair;
use pvir_guest::{EitherStore, Entry, Live, MsixEntry, Origin, Renamed};

/// Places, or MSI-X entries.
const HALF: usize = MAX_SENDERS as usize;
/// Both together.
pub(super) const ALL: usize = 2 * HALF;

pub(super) type Lines = ArrayVec<CountedInterrupt, ALL>;

/// Where the message of an IMS entry is kept: at a place of the device's own, or in an entry of the MSI-X table that has
/// no interrupt of its own, which to the host is a place like any other.
pub(super) type MessageLocation = EitherStore<ImsLocation, Renamed<MsixEntry<Kernel>>>;

/// The entries that send.
pub(super) struct Senders {
    pub(super) places: ArrayVec<Entry<MessageLocation, Live>, HALF>,
    pub(super) entries: ArrayVec<Entry<MsixEntry<Kernel>, Live>, HALF>,
}

impl Senders {
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
