//! MAP: the host prepares an IRTE for an entry and answers with its pair.

use crate::call::{AnswerPosition, Batch, BatchMode};
use crate::{
    BlockLock, Conduit, ContractViolation, EntryError, Error, Irte, Origin, Remapping, Target, check,
};
use pvir_abi::{DeviceId, EntryRecord, Handle, Operation, Store};

/// A request to map one entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct MapRequest {
    /// The entry to be mapped.
    pub origin: Origin,
    /// Where its interrupt goes.
    pub target: Target,
}

impl MapRequest {
    /// The request to map `origin` so that its interrupt goes to `target`.
    #[must_use]
    pub const fn new(origin: Origin, target: Target) -> Self {
        Self { origin, target }
    }

    fn record(&self) -> EntryRecord {
        self.target.put(self.origin.record())
    }
}

/// The result for one request of a batch.
pub type MapResult = Result<Irte, EntryError>;

/// The value with which places for results begin: `[const { NOT_MAPPED }; 10]`.
pub const NOT_MAPPED: MapResult = Err(EntryError::NotAsked);

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// Maps one entry. The entry must be masked, and unless the target is [`Target::Parked`] the handler of its
    /// interrupt must be in place: the interrupt may arrive from the moment of the call on (statements M3 and M4).
    ///
    /// # Errors
    /// [`Error::Entry`] or [`Error::Status`] with the status of the host, or [`Error::ContractViolation`].
    pub fn map(&self, request: MapRequest) -> Result<Irte, Error> {
        let (operation, origin, record) = (Operation::MAP, request.origin, request.record());
        let mapped = self.transport.ask(operation, &record, |at, answer| irte(&request, at, answer))?;
        let irte = mapped.map_err(|status| Error::Entry { operation, origin, status })?;
        self.note(&irte).map_err(|violation| Error::ContractViolation { operation, violation })?;
        Ok(irte)
    }

    /// Maps many entries, of any devices, and stores the result of each request at the same index of `results`.
    /// Returns the number of entries that were mapped.
    ///
    /// With [`BatchMode::Partial`] fewer may be mapped than were asked for, which is no error of the batch. A batch
    /// longer than one call is split; with [`BatchMode::AllOrNothing`] it is refused.
    ///
    /// # Errors
    /// If a call failed as a whole, or [`Error::LengthMismatch`], [`Error::ResultInUse`], [`Error::DuplicateEntry`]
    /// or [`Error::TooMany`]. With [`BatchMode::AllOrNothing`] also if one entry failed: `results` say which. IRTEs
    /// that earlier calls of a split batch gave stay in `results`.
    pub fn map_batch(
        &self,
        requests: &[MapRequest],
        results: &mut [MapResult],
        mode: BatchMode,
    ) -> Result<usize, Error> {
        if requests.len() != results.len() {
            return Err(Error::LengthMismatch { requests: requests.len(), others: results.len() });
        }
        if let Some(index) = results.iter().position(Result::is_ok) {
            return Err(Error::ResultInUse { index });
        }
        refuse_twice(requests.iter().map(|request| request.origin))?;
        results.fill_with(|| NOT_MAPPED);
        let given = Given::default();
        let outcome = self.transport.run(&mut Map { requests, results, given }, mode);
        let mut violated = None;
        for result in results {
            let Ok(irte) = result else { continue };
            if let Err(violation) = self.note(irte) {
                violated.get_or_insert(violation);
                *result = Err(EntryError::ContractViolation);
            }
        }
        match violated {
            Some(violation) => Err(Error::ContractViolation { operation: Operation::MAP, violation }),
            None => outcome,
        }
    }

    /// Compares what the host has given with what the guest holds, and notes it. What it gave before is held already.
    fn note(&self, irte: &Irte) -> Result<(), ContractViolation> {
        let Some(ledger) = self.ledger.as_ref().filter(|_| !irte.existing) else { return Ok(()) };
        ledger
            .note(irte)
            .inspect_err(|violation| log::error!("pvir: MAP: the host broke the contract: {violation}"))
    }
}

/// One batch never names an entry twice: the second answer would be a second token for one IRTE.
fn refuse_twice(origins: impl Iterator<Item = Origin> + Clone) -> Result<(), Error> {
    // Kernels ask in order, and then every entry is compared with its neighbour only.
    if origins.clone().is_sorted_by(|one, next| entry(one) < entry(next)) {
        return Ok(());
    }
    let mut rest = origins;
    while let Some(origin) = rest.next() {
        if rest.clone().any(|other| entry(&origin) == entry(&other)) {
            return Err(Error::DuplicateEntry { origin });
        }
    }
    Ok(())
}

fn entry(origin: &Origin) -> (DeviceId, Store, u32) {
    (origin.device, origin.store, origin.index)
}

/// The IRTE that the answer to a MAP gives.
fn irte(
    request: &MapRequest,
    AnswerPosition { record, epoch, .. }: AnswerPosition,
    answer: &EntryRecord,
) -> Result<Irte, ContractViolation> {
    let (sent, MapRequest { origin, target }) = (request.record(), *request);
    check::same_entry(record, &sent, answer)?;
    check::same_routing(record, &sent, answer)?;
    let handle = check::handle(record, &sent, answer)?;
    let pair = check::pair(record, origin.count, answer)?;
    let existing = check::mapped_state(record, origin, target, answer)?;
    Ok(Irte { origin, handle, pair, target, epoch, existing })
}

struct Map<'a> {
    requests: &'a [MapRequest],
    results: &'a mut [MapResult],
    given: Given,
}

/// What the host has given in this batch, by its lowest and highest values: what lies beyond them is new. Hosts give
/// handles and pairs in order, up or down, so that hardly any must be compared with all the others.
#[derive(Default)]
struct Given {
    handles: Span<Handle>,
    pairs: Span<(DeviceId, u64, u32)>,
}

/// The lowest and the highest of some values.
struct Span<T>(Option<(T, T)>);

impl<T> Default for Span<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Ord + Copy> Span<T> {
    fn add(&mut self, value: T) {
        self.0 = Some(self.0.map_or((value, value), |(low, high)| (low.min(value), high.max(value))));
    }

    fn may_have(&self, value: T) -> bool {
        self.0.is_some_and(|(low, high)| (low..=high).contains(&value))
    }
}

/// A pair is unique to its device: on AMD the data is an index into the device's own table, so that two devices may
/// well have the same.
fn pair_of(irte: &Irte) -> (DeviceId, u64, u32) {
    (irte.origin.device, irte.pair.address, irte.pair.data)
}

impl Map<'_> {
    /// Neither handle nor pair may be those of another entry.
    fn unlike_others(&self, index: usize, record: usize, irte: &Irte) -> Result<(), ContractViolation> {
        if !self.given.handles.may_have(irte.handle) && !self.given.pairs.may_have(pair_of(irte)) {
            return Ok(());
        }
        let others = self.results.iter().enumerate().filter(|(other, _)| *other != index);
        for (_, other) in others {
            let Ok(other) = other else { continue };
            if other.handle == irte.handle {
                return Err(ContractViolation::HandleTwice { record, handle: irte.handle });
            }
            if pair_of(other) == pair_of(irte) {
                return Err(ContractViolation::PairTwice { record, pair: irte.pair });
            }
        }
        Ok(())
    }
}

impl Batch for Map<'_> {
    const OPERATION: Operation = Operation::MAP;
    type Record = EntryRecord;
    type Item<'b>
        = MapRequest
    where
        Self: 'b;
    type Answer = Irte;

    fn len(&self) -> usize {
        self.requests.len()
    }

    fn item(&self, index: usize) -> Option<MapRequest> {
        self.requests.get(index).copied()
    }

    fn request(item: &MapRequest) -> EntryRecord {
        item.record()
    }

    fn validate(
        &self,
        at: AnswerPosition,
        item: &MapRequest,
        answer: &EntryRecord,
    ) -> Result<Irte, ContractViolation> {
        let irte = irte(item, at, answer)?;
        self.unlike_others(at.index, at.record, &irte)?;
        Ok(irte)
    }

    fn results(&mut self) -> &mut [MapResult] {
        self.results
    }

    fn put(&mut self, index: usize, result: MapResult) {
        if let Ok(irte) = &result {
            self.given.handles.add(irte.handle);
            self.given.pairs.add(pair_of(irte));
        }
        if let Some(slot) = self.results.get_mut(index) {
            *slot = result;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn what_was_given_is_never_taken_for_new(values: Vec<u8>) {
            let mut span = Span::default();
            for value in &values {
                span.add(*value);
            }
            prop_assert!(values.iter().all(|value| span.may_have(*value)));
        }

        #[test]
        fn a_batch_names_an_entry_twice_or_not(indices in proptest::collection::vec(0u32..12, 0..8)) {
            let device = DeviceId::default();
            let before = |position, index| indices.iter().take(position).any(|other| other == index);
            let twice = indices.iter().enumerate().any(|(position, index)| before(position, index));
            let origins = indices.iter().map(|index| Origin::msix(device, *index));
            prop_assert_eq!(refuse_twice(origins).is_err(), twice);
        }
    }
}
