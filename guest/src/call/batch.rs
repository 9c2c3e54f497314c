//! Many records of one operation: what is asked, and where the answers go.

use super::failure::Failure;
use crate::block::BlockMemory;
use crate::check::{self, Verdict};
use crate::record::{BatchRecord, Record};
use crate::{ContractViolation, EntryError, Error};
use core::ops::Range;
use pvir_abi::{Header, Operation, Status};

/// How a batch is carried out of which some entries fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BatchMode {
    /// The other entries are carried out. A batch longer than one call is split into several calls.
    Partial,
    /// No entry is carried out. A batch longer than one call is refused before the host is called, because what
    /// earlier calls did could not be undone: after an UNMAP no MAP gives the same pair again.
    AllOrNothing,
}

/// The records of one operation: the requests, and where the answers go. An index counts over the whole batch.
pub(crate) trait Batch {
    const OPERATION: Operation;
    type Record: BatchRecord;
    /// What is asked for in one record.
    type Item<'b>
    where
        Self: 'b;
    /// What the caller gets for a record that was carried out.
    type Answer;

    fn len(&self) -> usize;
    /// What is asked for at `index`, the same each time; `None` beyond the end.
    fn item(&self, index: usize) -> Option<Self::Item<'_>>;
    /// The record that asks for it.
    fn request(item: &Self::Item<'_>) -> Self::Record;
    /// Validates `answer`, whose status is OK, against its request.
    fn validate(
        &self,
        at: AnswerPosition,
        item: &Self::Item<'_>,
        answer: &Self::Record,
    ) -> Result<Self::Answer, ContractViolation>;
    /// One place for the result of each record.
    fn results(&mut self) -> &mut [Result<Self::Answer, EntryError>];

    /// Stores the result of the record at `index`.
    fn put(&mut self, index: usize, result: Result<Self::Answer, EntryError>) {
        if let Some(slot) = self.results().get_mut(index) {
            *slot = result;
        }
    }
}

/// Which answer is validated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerPosition {
    /// Its index in the batch.
    pub(crate) index: usize,
    /// Its number within the call, for messages.
    pub(crate) record: usize,
    /// The epoch in the header of the call.
    pub(crate) epoch: u64,
}

/// The answer to a call, checked as far as its header goes.
pub(super) struct Answered {
    pub(super) header: Header,
    pub(super) verdict: Verdict,
}

/// Copies the records of an answer out of the block, and checks each.
pub(super) fn read_records<B: Batch>(
    block: &BlockMemory,
    batch: &mut B,
    asked: Range<usize>,
    Answered { header, verdict }: &Answered,
) -> Result<usize, Failure> {
    let mut counted = 0u32;
    let mut failed = false;
    for (record, index) in asked.enumerate() {
        let Some(item) = batch.item(index) else { continue };
        let answer = B::Record::from_chunk(block.read_record(record));
        let result = match check::record_status(record, answer.status(), *verdict)? {
            Ok(()) => {
                counted = counted.saturating_add(1);
                Ok(batch.validate(AnswerPosition { index, record, epoch: header.epoch }, &item, &answer)?)
            }
            Err(error) => {
                failed |= error.status() != Status::ABORTED;
                B::request(&item).check_failed(record, &answer)?;
                Err(EntryError::Status(error))
            }
        };
        drop(item);
        batch.put(index, result);
    }
    check::totals(header, counted, failed, *verdict)?;
    match verdict {
        Verdict::Aborted(status) => Err(Failure::Aborted(*status)),
        _ => Ok(usize::try_from(counted).unwrap_or(usize::MAX)),
    }
}

/// The failure of a call is the result of each record that was in it.
pub(super) fn failed_as_a_whole<B: Batch>(batch: &mut B, asked: Range<usize>, failure: Failure) -> Error {
    let of_each = match failure {
        Failure::Unasked(_) | Failure::Aborted(_) => None,
        Failure::Status(status) => Some(EntryError::Status(status)),
        Failure::Violation(_) => Some(EntryError::ContractViolation),
    };
    if let Some(error) = of_each {
        asked.for_each(|index| batch.put(index, Err(error)));
    }
    failure.into_error(B::OPERATION)
}
