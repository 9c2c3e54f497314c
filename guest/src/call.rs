//! One call: the request is copied into the block, the conduit is used, and the answer is copied out once and
//! checked.

use crate::block::BlockMemory;
use crate::check::{self, Verdict};
use crate::cpu::memory_barrier;
use crate::lock::BlockLock;
use crate::record::{BatchRecord, Record};
use crate::{Conduit, ContractViolation, EntryError, Error};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use pvir_abi::{CallFlags, EnableRecord, Header, Operation, Status, StatusError, Version};

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

/// The conduit, the request block, and what was negotiated with the host.
pub(crate) struct Transport<C, L> {
    conduit: C,
    lock: L,
    pub(crate) version: Version,
    /// Maximum number of records that the host takes in one call.
    max_records: usize,
    /// The latest epoch seen since ENABLE, 0 while pvir is not enabled.
    pub(crate) epoch: AtomicU64,
}

/// The answer to a call, checked as far as its header goes.
struct Answered {
    header: Header,
    verdict: Verdict,
}

impl<C: Conduit, L: BlockLock> Transport<C, L> {
    pub(crate) fn new(conduit: C, lock: L, version: Version, max_records: u32) -> Self {
        let max_records = usize::try_from(max_records).unwrap_or(usize::MAX).max(1);
        Self { conduit, lock, version, max_records, epoch: AtomicU64::new(0) }
    }

    /// Maximum number of records in one call now: what the host takes, or what the block has room for.
    pub(crate) fn max_records(&self) -> usize {
        self.lock.with_block(|block| self.room(block))
    }

    fn room(&self, block: &BlockMemory) -> usize {
        self.max_records.min(block.records())
    }

    /// Carries out a batch in as many calls as it takes. Returns the number of records that are OK.
    ///
    /// After an error the results of earlier calls stay in the batch.
    pub(crate) fn run<B: Batch>(&self, batch: &mut B, mode: BatchMode) -> Result<usize, Error> {
        let len = batch.len();
        let (mut start, mut done) = (0usize, 0usize);
        while start < len {
            let mut asked = start..start;
            match self.exchange(batch, mode, start..len, &mut asked) {
                Ok(counted) => done = done.saturating_add(counted),
                Err(error) => return Err(failed_as_a_whole(batch, asked, error)),
            }
            start = asked.end;
        }
        Ok(done)
    }

    /// One call with as many of the records in `rest` as it takes, which are `asked` then. Returns the number of those
    /// that are OK.
    fn exchange<B: Batch>(
        &self,
        batch: &mut B,
        mode: BatchMode,
        rest: Range<usize>,
        asked: &mut Range<usize>,
    ) -> Result<usize, Failure> {
        self.lock.with_block(|block| {
            let max = self.room(block);
            let flags = match mode {
                BatchMode::Partial => CallFlags::empty(),
                BatchMode::AllOrNothing if rest.len() > max => {
                    return Err(Failure::Unasked(Error::TooMany { requested: rest.len(), max }));
                }
                BatchMode::AllOrNothing => CallFlags::ALL_OR_NOTHING,
            };
            self.reach(block)?;
            *asked = rest.start..rest.start.saturating_add(max).min(rest.end);
            let count = u32::try_from(asked.len()).unwrap_or(u32::MAX);
            for (record, index) in asked.clone().enumerate() {
                if let Some(item) = batch.item(index) {
                    block.write_record(record, B::request(&item).to_chunk());
                }
            }
            let answered = self.answered(block, B::OPERATION, flags, count)?;
            read_records(block, batch, asked.clone(), &answered)
        })
    }

    /// One call with one record. The inner result is an error where the host has carried out the call and not the
    /// record.
    pub(crate) fn ask<R: BatchRecord, A>(
        &self,
        operation: Operation,
        request: &R,
        validate: impl FnOnce(AnswerPosition, &R) -> Result<A, ContractViolation>,
    ) -> Result<Result<A, StatusError>, Error> {
        let outcome = self.lock.with_block(|block| {
            self.reach(block)?;
            block.write_record(0, request.to_chunk());
            let Answered { header, verdict } = self.answered(block, operation, CallFlags::empty(), 1)?;
            let answer = R::from_chunk(block.read_record(0));
            let at = AnswerPosition { index: 0, record: 0, epoch: header.epoch };
            let result = match check::record_status(0, answer.status(), verdict)? {
                Ok(()) => Ok(validate(at, &answer)?),
                Err(status) => {
                    request.check_failed(0, &answer)?;
                    Err(status)
                }
            };
            check::totals(&header, u32::from(result.is_ok()), result.is_err(), verdict)?;
            Ok(result)
        });
        outcome.map_err(|failure: Failure| failure.into_error(operation))
    }

    /// Makes the call whose records are in the block, and checks the header of the answer.
    fn answered(
        &self,
        block: &mut BlockMemory,
        operation: Operation,
        flags: CallFlags,
        count: u32,
    ) -> Result<Answered, Failure> {
        let sent = Header::request(self.version, operation, flags, count);
        // Another call may raise the epoch meanwhile: this one's answer is no older than what was known before it.
        let before = self.epoch.load(Ordering::Relaxed);
        let status = self.call(block, sent);
        let header: Header = zerocopy::transmute!(block.read_header());
        let verdict = check::header(&sent, &header, status, before)?;
        if before != 0 && header.epoch != 0 {
            self.epoch.fetch_max(header.epoch, Ordering::Relaxed);
        }
        match verdict {
            Verdict::Failed(status) => Err(Failure::Status(status)),
            verdict => Ok(Answered { header, verdict }),
        }
    }

    /// A call without records: DISABLE.
    pub(crate) fn call_bare(&self, operation: Operation) -> Result<(), Error> {
        let sent = Header::request(self.version, operation, CallFlags::empty(), 0);
        let (status, got): (_, Header) = self.lock.with_block(|block| {
            self.reach(block).map_err(|failure| failure.into_error(operation))?;
            let status = self.call(block, sent);
            Ok::<_, Error>((status, zerocopy::transmute!(block.read_header())))
        })?;
        // After DISABLE the epoch is 0, after a failure it is what it was: checked as if there were none.
        match check::header(&sent, &got, status, 0) {
            Ok(Verdict::Carried) if got.done == 0 => Ok(()),
            Ok(Verdict::Carried) => Err(ContractViolation::Done { said: got.done, counted: 0 }),
            Ok(Verdict::Failed(status)) => return Err(Error::Status { operation, status }),
            Ok(Verdict::Partial | Verdict::Aborted(_)) => Err(ContractViolation::CallStatus(got.status)),
            Err(violation) => Err(violation),
        }
        .map_err(|violation| Error::ContractViolation { operation, violation })
    }

    /// The call of ENABLE, whose record is written even if it is refused: the session checks the raw answer.
    pub(crate) fn call_enable(&self, request: EnableRecord) -> Result<RawEnable, Error> {
        let operation = Operation::ENABLE;
        let sent = Header::request(self.version, operation, CallFlags::empty(), 1);
        self.lock.with_block(|block| {
            self.reach(block).map_err(|failure| failure.into_error(operation))?;
            block.write_record(0, request.to_chunk());
            let conduit = self.call(block, sent);
            let got = zerocopy::transmute!(block.read_header());
            let record = EnableRecord::from_chunk(block.read_record(0));
            Ok(RawEnable { sent, got, conduit, record })
        })
    }

    /// Whether the conduit can carry the address of the block.
    fn reach(&self, block: &BlockMemory) -> Result<(), Failure> {
        let address = block.address();
        let out = Failure::Unasked(Error::BlockOutOfReach(address));
        if self.conduit.reaches(address) { Ok(()) } else { Err(out) }
    }

    /// Writes the header, which is what makes a block a request, and uses the conduit.
    fn call(&self, block: &mut BlockMemory, sent: Header) -> Status {
        block.write_header(zerocopy::transmute!(sent));
        // The conduits of the crate x86_64 tell the compiler that they touch no memory.
        memory_barrier();
        #[expect(unsafe_code, reason = "the host overwrites the block")]
        // SAFETY: the block is ours alone, because it is behind `&mut`; it has room for the records that the header
        // counts, because no more of them were written; the event area in an ENABLE is the host's by the promise of
        // whoever made the `EventMemory`. The kernel gave a conduit to the host that it discovered.
        let status = unsafe { self.conduit.call(block.address()) };
        memory_barrier();
        status
    }
}

/// Copies the records of an answer out of the block, and checks each.
fn read_records<B: Batch>(
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

/// An answer to ENABLE of which nothing has been checked.
pub(crate) struct RawEnable {
    pub(crate) sent: Header,
    pub(crate) got: Header,
    pub(crate) conduit: Status,
    pub(crate) record: EnableRecord,
}

/// Why a call carried out no record.
enum Failure {
    /// The host was not called.
    Unasked(Error),
    /// The host answered the call with this status.
    Status(StatusError),
    /// One record failed, and therefore none was carried out. Each has a status of its own.
    Aborted(StatusError),
    /// The answer breaks the contract.
    Violation(ContractViolation),
}

impl From<ContractViolation> for Failure {
    fn from(violation: ContractViolation) -> Self {
        Self::Violation(violation)
    }
}

impl Failure {
    fn into_error(self, operation: Operation) -> Error {
        match self {
            Self::Unasked(error) => error,
            Self::Status(status) | Self::Aborted(status) => Error::Status { operation, status },
            Self::Violation(violation) => {
                log::error!("pvir: {operation:?}: the host broke the contract: {violation}");
                Error::ContractViolation { operation, violation }
            }
        }
    }
}

/// The failure of a call is the result of each record that was in it.
fn failed_as_a_whole<B: Batch>(batch: &mut B, asked: Range<usize>, failure: Failure) -> Error {
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
