//! UNMAP: IRTEs are given back to the host.

use crate::call::{AnswerPosition, Batch, BatchMode};
use crate::map::entry_error;
use crate::{Conduit, ContractViolation, EntryError, Error, Irte, Remapping, check};
use core::fmt;
use pvir_abi::{EntryRecord, Operation};

/// The result for one IRTE of a batch.
pub type UnmapResult = Result<(), EntryError>;

/// The error of [`Remapping::unmap`], with the IRTE, which the host may still hold.
#[derive(Debug)]
pub struct UnmapFailed {
    /// The IRTE that was to be given back.
    pub irte: Irte,
    /// Why the UNMAP failed.
    pub error: Error,
}

impl fmt::Display for UnmapFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl core::error::Error for UnmapFailed {}

impl<C: Conduit> Remapping<C> {
    /// Gives one IRTE back. No entry holds it, because an entry gives it out only when it is masked and retired.
    ///
    /// Keep the handler until its CPU has drained (statement U1).
    ///
    /// # Errors
    /// [`Error::Entry`] or [`Error::Status`] with the status of the host, or [`Error::ContractViolation`]. After
    /// [`Status::DEVICE_ERROR`](pvir_abi::Status::DEVICE_ERROR) and
    /// [`Status::HOST_ERROR`](pvir_abi::Status::HOST_ERROR) the handle is stale all the same (statement U3).
    pub fn unmap(&self, irte: Irte) -> Result<(), UnmapFailed> {
        let origin = irte.origin;
        let mut irtes = [Some(irte)];
        let mut results = [Err(EntryError::NotAsked)];
        let outcome = self.unmap_batch(&mut irtes, &mut results, BatchMode::Partial);
        let ([irte], [result]) = (irtes, results);
        let error = match (outcome, result) {
            (Ok(_), Ok(())) => return Ok(()),
            (Err(error), _) => error,
            (_, Err(error)) => entry_error(Operation::UNMAP, origin, error),
        };
        // It is taken out only with a result that is Ok, so it is still there.
        irte.map_or(Ok(()), |irte| Err(UnmapFailed { irte, error }))
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

impl Batch for Unmap<'_> {
    const OPERATION: Operation = Operation::UNMAP;
    type Record = EntryRecord;
    type Answer = ();

    fn len(&self) -> usize {
        self.irtes.iter().position(Option::is_none).unwrap_or(self.irtes.len())
    }

    fn request(&self, index: usize) -> Option<EntryRecord> {
        let irte = self.irtes.get(index)?.as_ref()?;
        Some(irte.origin.record().with_handle(irte.handle))
    }

    // The answer to UNMAP is its status alone, whatever it is.
    fn validate(
        &self,
        at: AnswerPosition,
        request: &EntryRecord,
        answer: &EntryRecord,
    ) -> Result<(), ContractViolation> {
        check::no_answer(at.record, request, answer)
    }

    fn results(&mut self) -> &mut [UnmapResult] {
        self.results
    }
}
