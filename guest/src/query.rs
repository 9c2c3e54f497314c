//! QUERY: asks the host what it holds for an entry. It changes nothing.

use crate::call::{AnswerPosition, Batch, BatchMode};
use crate::map::entry_error;
use crate::{Conduit, ContractViolation, EntryError, Error, HoldsIrte, Origin, Remapping, Target, check};
use pvir_abi::{EntryRecord, Handle, Operation, Pair};

/// The IRTE that the host holds for an entry, as QUERY answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IrteInfo {
    /// The handle of the IRTE. It gives no right to the IRTE: only an [`Irte`](crate::Irte) does.
    pub handle: Handle,
    /// The pair of the IRTE.
    pub pair: Pair,
    /// Where the interrupt goes, as the last MAP or RETARGET asked for.
    pub target: Target,
}

/// The result for one entry of a batch.
pub type QueryResult = Result<IrteInfo, EntryError>;

impl<C: Conduit> Remapping<C> {
    /// Asks what the host holds for `origin`, whoever mapped it.
    ///
    /// # Errors
    /// [`Error::Entry`] with [`Status::STALE_HANDLE`](pvir_abi::Status::STALE_HANDLE) if the entry is not mapped;
    /// otherwise another status of the host, or [`Error::ContractViolation`].
    pub fn query(&self, origin: Origin) -> Result<IrteInfo, Error> {
        self.query_one(origin, origin.record(), None)
    }

    /// Asks whether the host still holds `irte`, with the same handle and the same pair.
    ///
    /// # Errors
    /// [`Error::Entry`] or [`Error::Status`] with the status of the host, or [`Error::ContractViolation`], for
    /// instance because the pair has changed.
    pub fn verify<T: HoldsIrte>(&self, irte: &T) -> Result<IrteInfo, Error> {
        let irte = irte.irte();
        self.query_one(irte.origin, irte.origin.record().with_handle(irte.handle), Some(irte.pair))
    }

    /// Asks what the host holds for many entries, of any devices, and stores the answer for each at the same index of
    /// `results`. Returns the number of entries that are mapped.
    ///
    /// # Errors
    /// If a call failed as a whole, or [`Error::LengthMismatch`].
    pub fn query_batch(&self, origins: &[Origin], results: &mut [QueryResult]) -> Result<usize, Error> {
        if origins.len() != results.len() {
            return Err(Error::LengthMismatch { requests: origins.len(), others: results.len() });
        }
        results.fill(Err(EntryError::NotAsked));
        let request = |index| origins.get(index).copied().map(Origin::record);
        self.transport.run(&mut Query { request, results, pair: None }, BatchMode::Partial)
    }

    fn query_one(&self, origin: Origin, request: EntryRecord, pair: Option<Pair>) -> Result<IrteInfo, Error> {
        let mut results = [Err(EntryError::NotAsked)];
        let request = |index| (index == 0).then_some(request);
        self.transport.run(&mut Query { request, results: &mut results, pair }, BatchMode::Partial)?;
        let [result] = results;
        result.map_err(|error| entry_error(Operation::QUERY, origin, error))
    }
}

struct Query<'a, F> {
    request: F,
    results: &'a mut [QueryResult],
    /// What the pair must be, if it is known.
    pair: Option<Pair>,
}

impl<F: Fn(usize) -> Option<EntryRecord>> Batch for Query<'_, F> {
    const OPERATION: Operation = Operation::QUERY;
    type Record = EntryRecord;
    type Answer = IrteInfo;

    fn len(&self) -> usize {
        self.results.len()
    }

    fn request(&self, index: usize) -> Option<EntryRecord> {
        (self.request)(index)
    }

    fn validate(
        &self,
        AnswerPosition { record, .. }: AnswerPosition,
        request: &EntryRecord,
        answer: &EntryRecord,
    ) -> Result<IrteInfo, ContractViolation> {
        check::same_entry(record, request, answer)?;
        let handle = check::handle(record, request, answer)?;
        let pair = check::pair(record, request.count, answer)?;
        let state = check::queried_state(record, answer)?;
        let target = Target::from_wire(answer.arch, answer.routing, state)
            .ok_or(ContractViolation::Routing { record })?;
        if let Some(was) = self.pair.filter(|was| *was != pair) {
            return Err(ContractViolation::PairChanged { record, was, now: pair });
        }
        Ok(IrteInfo { handle, pair, target })
    }

    fn results(&mut self) -> &mut [QueryResult] {
        self.results
    }
}
