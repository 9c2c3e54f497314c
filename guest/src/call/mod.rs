//! One call: the request is copied into the block, the conduit is used, and the answer is copied out once and
//! checked.

mod batch;
mod failure;

pub use batch::BatchMode;
pub(crate) use batch::{AnswerPosition, Batch};

use crate::block::BlockMemory;
use crate::check::{self, Verdict};
use crate::cpu::memory_barrier;
use crate::lock::BlockLock;
use crate::record::{BatchRecord, Record};
use crate::sync::{AtomicU64, Ordering};
use crate::{Conduit, ContractViolation, Error};
use batch::{Answered, failed_as_a_whole, read_records};
use core::ops::Range;
use failure::Failure;
use pvir_abi::{CallFlags, EnableRecord, Header, Operation, Status, StatusError, Version};

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
        self.ask_for_reason(operation, request, validate, |_, _| Ok(()))
    }

    /// The same for a record that says more than its status if it failed: `reason` takes it, after the record was
    /// checked.
    pub(crate) fn ask_for_reason<R: BatchRecord, A>(
        &self,
        operation: Operation,
        request: &R,
        validate: impl FnOnce(AnswerPosition, &R) -> Result<A, ContractViolation>,
        reason: impl FnOnce(AnswerPosition, &R) -> Result<(), ContractViolation>,
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
                    reason(at, &answer)?;
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

/// An answer to ENABLE of which nothing has been checked.
pub(crate) struct RawEnable {
    pub(crate) sent: Header,
    pub(crate) got: Header,
    pub(crate) conduit: Status,
    pub(crate) record: EnableRecord,
}
