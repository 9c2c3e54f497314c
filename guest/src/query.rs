//! QUERY: asks the host what it holds for an entry. It changes nothing.

use crate::call::{AnswerPosition, Batch, BatchMode};
use crate::{
    BlockLock, Conduit, ContractViolation, EntryError, Error, HoldsIrte, Origin, Remapping, Target, check,
};
use pvir_abi::{EntryRecord, Handle, Operation, Pair};

/// The IRTE that the host holds for an entry, as QUERY answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct IrteInfo {
    /// The handle of the IRTE. It gives no right to the IRTE: only an [`Irte`](crate::Irte) does.
    pub handle: Handle,
    /// The pair of the IRTE.
    pub pair: Pair,
    /// Where the interrupt goes, as the last MAP or RETARGET asked for.
    pub target: Target,
}

impl IrteInfo {
    /// The same, if its pair is `was`.
    pub(crate) fn with_pair(self, record: usize, was: Pair) -> Result<Self, ContractViolation> {
        if self.pair == was {
            Ok(self)
        } else {
            Err(ContractViolation::PairChanged { record, was, now: self.pair })
        }
    }
}

/// The result for one entry of a batch.
pub type QueryResult = Result<IrteInfo, EntryError>;

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// Asks what the host holds for `origin`, whoever mapped it.
    ///
    /// # Errors
    /// [`Error::Entry`] with [`Status::STALE_HANDLE`](pvir_abi::Status::STALE_HANDLE) if the entry is not mapped;
    /// otherwise another status of the host, or [`Error::ContractViolation`].
    pub fn query(&self, origin: Origin) -> Result<IrteInfo, Error> {
        self.query_one(origin, &origin.record(), None)
    }

    /// Asks whether the host still holds `irte`, with the same handle and the same pair.
    ///
    /// # Errors
    /// [`Error::Entry`] or [`Error::Status`] with the status of the host, or [`Error::ContractViolation`], for
    /// instance because the pair has changed.
    pub fn verify<T: HoldsIrte>(&self, irte: &T) -> Result<IrteInfo, Error> {
        let irte = irte.irte();
        self.query_one(irte.origin, &irte.origin.record().with_handle(irte.handle), Some(irte.pair))
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
        self.transport.run(&mut Query { origins, results }, BatchMode::Partial)
    }

    /// Asks for `origin` with `request`. `pair` is what the pair must be, if it is known.
    fn query_one(
        &self,
        origin: Origin,
        request: &EntryRecord,
        pair: Option<Pair>,
    ) -> Result<IrteInfo, Error> {
        let operation = Operation::QUERY;
        let answer = self.transport.ask(operation, request, |AnswerPosition { record, .. }, answer| {
            let info = info(record, request, answer)?;
            pair.map_or(Ok(info), |pair| info.with_pair(record, pair))
        })?;
        answer.map_err(|status| Error::Entry { operation, origin, status })
    }
}

/// What the answer to a QUERY says.
pub(crate) fn info(
    record: usize,
    request: &EntryRecord,
    answer: &EntryRecord,
) -> Result<IrteInfo, ContractViolation> {
    check::same_entry(record, request, answer)?;
    let handle = check::handle(record, request, answer)?;
    let pair = check::pair(record, request.count, answer)?;
    let state = check::queried_state(record, answer)?;
    let target =
        Target::from_wire(answer.arch, answer.routing, state).ok_or(ContractViolation::Routing { record })?;
    Ok(IrteInfo { handle, pair, target })
}

struct Query<'a> {
    origins: &'a [Origin],
    results: &'a mut [QueryResult],
}

impl Batch for Query<'_> {
    const OPERATION: Operation = Operation::QUERY;
    type Record = EntryRecord;
    type Item<'b>
        = Origin
    where
        Self: 'b;
    type Answer = IrteInfo;

    fn len(&self) -> usize {
        self.origins.len()
    }

    fn item(&self, index: usize) -> Option<Origin> {
        self.origins.get(index).copied()
    }

    fn request(item: &Origin) -> EntryRecord {
        item.record()
    }

    fn validate(
        &self,
        AnswerPosition { record, .. }: AnswerPosition,
        item: &Origin,
        answer: &EntryRecord,
    ) -> Result<IrteInfo, ContractViolation> {
        info(record, &item.record(), answer)
    }

    fn results(&mut self) -> &mut [QueryResult] {
        self.results
    }
}
