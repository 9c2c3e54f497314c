//! UNMAP: IRTEs are given back to the host.

use crate::call::{AnswerPosition, Batch, BatchMode};
use crate::{BlockLock, Conduit, ContractViolation, EntryError, Error, Irte, Remapping, check};
use pvir_abi::{EntryRecord, Operation};

/// The result for one IRTE of a batch.
pub type UnmapResult = Result<(), EntryError>;

/// The error of [`Remapping::unmap`], with the IRTE, which the host may still hold.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct UnmapFailed {
    /// The IRTE that was to be given back.
    pub irte: Irte,
    /// Why the UNMAP failed.
    pub error: Error,
}

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// Gives one IRTE back. No entry holds it, because an entry gives it out only when it is masked and retired.
    ///
    /// Keep the handler until its CPU has drained (statement U1).
    ///
    /// # Errors
    /// [`Error::Entry`] or [`Error::Status`] with the status of the host, or [`Error::ContractViolation`]. After
    /// [`Status::DEVICE_ERROR`](pvir_abi::Status::DEVICE_ERROR) and
    /// [`Status::HOST_ERROR`](pvir_abi::Status::HOST_ERROR) the handle is stale all the same (statement U3).
    pub fn unmap(&self, irte: Irte) -> Result<(), UnmapFailed> {
        let (operation, origin) = (Operation::UNMAP, irte.origin);
        let record = record(&irte);
        if let Some(ledger) = &self.ledger {
            ledger.forget(&irte);
        }
        let no_answer =
            |at: AnswerPosition, answer: &EntryRecord| check::no_answer(at.record, &record, answer);
        match self.transport.ask(operation, &record, no_answer) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(UnmapFailed { irte, error: Error::Entry { operation, origin, status } }),
            Err(error) => Err(UnmapFailed { irte, error }),
        }
    }

    /// Gives many IRTEs back, of any devices, and stores the result of each at the same index of `results`. Those
    /// that were given back are taken out of `irtes`, the others stay there. Returns the number of those that were
    /// given back.
    ///
    /// The batch ends before the first `None` in `irtes`. A batch longer than one call is split; with
    /// [`BatchMode::AllOrNothing`] it is refused.
    ///
    /// # Errors
    /// If a call failed as a whole, or [`Error::LengthMismatch`] or [`Error::TooMany`]. With
    /// [`BatchMode::AllOrNothing`] also if the host refused one entry: `results` say which. What the host accepted
    /// and could not finish it does not undo (statement U3): then fewer were given back, which is no error of the
    /// batch.
    pub fn unmap_batch(
        &self,
        irtes: &mut [Option<Irte>],
        results: &mut [UnmapResult],
        mode: BatchMode,
    ) -> Result<usize, Error> {
        if irtes.len() != results.len() {
            return Err(Error::LengthMismatch { requests: irtes.len(), others: results.len() });
        }
        results.fill(Err(EntryError::NotAsked));
        // Before the call: another CPU may map the same pair as soon as the host has it back.
        if let Some(ledger) = &self.ledger {
            irtes.iter().map_while(Option::as_ref).for_each(|irte| ledger.forget(irte));
        }
        let outcome = self.transport.run(&mut Unmap { irtes, results }, mode);
        for (irte, result) in irtes.iter_mut().zip(results) {
            if result.is_ok() {
                *irte = None;
            }
        }
        outcome
    }
}

struct Unmap<'a> {
    irtes: &'a [Option<Irte>],
    results: &'a mut [UnmapResult],
}

fn record(irte: &Irte) -> EntryRecord {
    irte.origin.record().with_handle(irte.handle)
}

impl Batch for Unmap<'_> {
    const OPERATION: Operation = Operation::UNMAP;
    type Record = EntryRecord;
    type Item<'b>
        = &'b Irte
    where
        Self: 'b;
    type Answer = ();

    fn len(&self) -> usize {
        self.irtes.iter().position(Option::is_none).unwrap_or(self.irtes.len())
    }

    fn item(&self, index: usize) -> Option<&Irte> {
        self.irtes.get(index)?.as_ref()
    }

    fn request(item: &&Irte) -> EntryRecord {
        record(item)
    }

    // The answer to UNMAP is its status alone, whatever it is.
    fn validate(
        &self,
        at: AnswerPosition,
        item: &&Irte,
        answer: &EntryRecord,
    ) -> Result<(), ContractViolation> {
        check::no_answer(at.record, &record(item), answer)
    }

    fn results(&mut self) -> &mut [UnmapResult] {
        self.results
    }
}
