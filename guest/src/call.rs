//! One call: the request is copied into the block, the conduit is used, and the answer is copied out once and
//! checked.

use crate::block::BlockMemory;
use crate::check::{self, Verdict};
use crate::cpu::memory_barrier;
use crate::record::{BatchRecord, Record};
use crate::{Conduit, ContractViolation, EntryError, Error};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use pvir_abi::{CallFlags, EnableRecord, Header, Operation, Status, Version};
use spin::Mutex;

/// How a batch is carried out of which some entries fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// What the caller gets for a record that was carried out.
    type Answer;

    fn len(&self) -> usize;
    /// The request at `index`, the same each time; `None` beyond the end.
    fn request(&self, index: usize) -> Option<Self::Record>;
    /// Validates `answer`, whose status is OK, against its request.
    fn validate(
        &self,
        at: AnswerPosition,
        request: &Self::Record,
        got: &Self::Record,
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
pub(crate) struct Transport<C> {
    conduit: C,
    block: Mutex<BlockMemory>,
    pub(crate) version: Version,
    /// Maximum number of records in one call.
    pub(crate) max_records: usize,
    /// The latest epoch seen since ENABLE, 0 while pvir is not enabled.
    pub(crate) epoch: AtomicU64,
}

impl<C: Conduit> Transport<C> {
    pub(crate) fn new(
        conduit: C,
        block: BlockMemory,
        version: Version,
        max_records: u32,
    ) -> Result<Self, Error> {
        if !conduit.reaches(block.address()) {
            return Err(Error::BlockOutOfReach(block.address()));
        }
        let max_records = usize::try_from(max_records).unwrap_or(usize::MAX).min(block.records());
        Ok(Self { conduit, block: Mutex::new(block), version, max_records, epoch: AtomicU64::new(0) })
    }

    /// Carries out a batch in as many calls as it takes. Returns the number of records that are OK.
    ///
    /// After an error the results of earlier calls stay in the batch.
    pub(crate) fn run<B: Batch>(&self, batch: &mut B, mode: BatchMode) -> Result<usize, Error> {
        let len = batch.len();
        let flags = match mode {
            BatchMode::Partial => CallFlags::empty(),
            BatchMode::AllOrNothing if len > self.max_records => {
                return Err(Error::TooMany { requested: len, max: self.max_records });
            }
            BatchMode::AllOrNothing => CallFlags::ALL_OR_NOTHING,
        };
        let (mut start, mut done) = (0usize, 0usize);
        while start < len {
            let end = start.saturating_add(self.max_records).min(len);
            done = done.saturating_add(self.exchange(batch, flags, start..end)?);
            start = end;
        }
        Ok(done)
    }

    /// One call with the records in `range`. If it fails as a whole, the failure is the result of each of them.
    pub(crate) fn exchange<B: Batch>(
        &self,
        batch: &mut B,
        flags: CallFlags,
        range: Range<usize>,
    ) -> Result<usize, Error> {
        let operation = B::OPERATION;
        let result = self.exchange_once(batch, flags, range.clone());
        let (error, entry_error) = match result {
            Ok(Exchanged::Carried(done)) => return Ok(done),
            Ok(Exchanged::Aborted) => return Err(aborted(operation)),
            Ok(Exchanged::Failed(status)) => {
                (Error::Status { operation, status }, EntryError::Status(status))
            }
            Err(violation) => {
                log::error!("pvir: {operation:?}: the host broke the contract: {violation}");
                (Error::ContractViolation { operation, violation }, EntryError::ContractViolation)
            }
        };
        for index in range {
            batch.put(index, Err(entry_error));
        }
        Err(error)
    }

    fn exchange_once<B: Batch>(
        &self,
        batch: &mut B,
        flags: CallFlags,
        range: Range<usize>,
    ) -> Result<Exchanged, ContractViolation> {
        let count = u32::try_from(range.len()).unwrap_or(u32::MAX);
        let sent = Header::request(self.version, B::OPERATION, flags, count);
        let mut block = self.block.lock();
        for (record, index) in range.clone().enumerate() {
            if let Some(request) = batch.request(index) {
                block.write_record(record, request.to_chunk());
            }
        }
        let status = self.call(&mut block, sent);
        let got: Header = zerocopy::transmute!(block.read_header());
        let epoch = self.epoch.load(Ordering::Relaxed);
        let verdict = check::header(&sent, &got, status, epoch)?;
        // Read under the lock, and checked not to go back.
        if epoch != 0 && got.epoch != 0 {
            self.epoch.store(got.epoch, Ordering::Relaxed);
        }
        if let Verdict::Failed(status) = verdict {
            return Ok(Exchanged::Failed(status));
        }
        let mut counted = 0u32;
        let mut failed = false;
        for (record, index) in range.enumerate() {
            let Some(request) = batch.request(index) else { continue };
            let answer = B::Record::from_chunk(block.read_record(record));
            let result = match check::record_status(record, answer.status(), verdict)? {
                Ok(()) => {
                    counted = counted.saturating_add(1);
                    Ok(batch.validate(
                        AnswerPosition { index, record, epoch: got.epoch },
                        &request,
                        &answer,
                    )?)
                }
                Err(error) => {
                    failed |= error.status() != Status::ABORTED;
                    request.check_failed(record, &answer)?;
                    Err(EntryError::Status(error))
                }
            };
            batch.put(index, result);
        }
        check::totals(&got, counted, failed, verdict)?;
        Ok(match verdict {
            Verdict::Aborted => Exchanged::Aborted,
            _ => Exchanged::Carried(usize::try_from(counted).unwrap_or(usize::MAX)),
        })
    }

    /// A call without records: DISABLE.
    pub(crate) fn call_bare(&self, operation: Operation) -> Result<(), Error> {
        let sent = Header::request(self.version, operation, CallFlags::empty(), 0);
        let mut block = self.block.lock();
        let status = self.call(&mut block, sent);
        let got: Header = zerocopy::transmute!(block.read_header());
        // After DISABLE the epoch is 0, after a failure it is what it was: checked as if there were none.
        match check::header(&sent, &got, status, 0) {
            Ok(Verdict::Carried) if got.done == 0 => Ok(()),
            Ok(Verdict::Carried) => Err(ContractViolation::Done { said: got.done, counted: 0 }),
            Ok(Verdict::Failed(status)) => return Err(Error::Status { operation, status }),
            Ok(Verdict::Partial | Verdict::Aborted) => Err(ContractViolation::CallStatus(got.status)),
            Err(violation) => Err(violation),
        }
        .map_err(|violation| Error::ContractViolation { operation, violation })
    }

    /// The call of ENABLE, whose record is written even if it is refused: the session checks the raw answer.
    pub(crate) fn call_enable(&self, request: EnableRecord) -> RawEnable {
        let sent = Header::request(self.version, Operation::ENABLE, CallFlags::empty(), 1);
        let mut block = self.block.lock();
        block.write_record(0, request.to_chunk());
        let conduit = self.call(&mut block, sent);
        let got = zerocopy::transmute!(block.read_header());
        RawEnable { sent, got, conduit, record: EnableRecord::from_chunk(block.read_record(0)) }
    }

    /// Writes the header, which is what makes a block a request, and uses the conduit.
    fn call(&self, block: &mut BlockMemory, sent: Header) -> Status {
        block.write_header(zerocopy::transmute!(sent));
        // The conduits of the crate x86_64 tell the compiler that they touch no memory.
        memory_barrier();
        #[expect(unsafe_code, reason = "the host overwrites the block")]
        // SAFETY: the block is ours alone, because it is behind `&mut`; the event area in an ENABLE is the host's by
        // the promise of whoever made the `EventMemory`. The kernel gave a conduit to the host that it discovered.
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

/// The outcome of one call.
enum Exchanged {
    /// This many records were carried out.
    Carried(usize),
    /// No record was carried out, because one failed.
    Aborted,
    /// No record was carried out, because the call failed.
    Failed(pvir_abi::StatusError),
}

fn aborted(operation: Operation) -> Error {
    match pvir_abi::StatusError::try_from(Status::ABORTED) {
        Ok(status) => Error::Status { operation, status },
        // ABORTED is not OK, so this is never reached; it is the closest truth.
        Err(()) => Error::ContractViolation { operation, violation: ContractViolation::NothingFailed },
    }
}
