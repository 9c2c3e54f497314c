//! RETARGET: an interrupt gets a new target under the same pair. No device is touched.

use crate::call::{AnswerPosition, Batch, BatchMode};
use crate::map::entry_error;
use crate::{Conduit, ContractViolation, EntryError, Error, HoldsIrte, Remapping, Target, check};
use pvir_abi::{EntryRecord, Operation};

/// The result for one IRTE of a batch.
pub type RetargetResult = Result<(), EntryError>;

impl<C: Conduit> Remapping<C> {
    /// Gives one interrupt a new target, be it to move it, to park it or to end that it is parked.
    ///
    /// What was raised before may still arrive at the old target: keep the old handler until the old CPU has drained
    /// (statement R2).
    ///
    /// # Errors
    /// [`Error::Entry`] or [`Error::Status`] with the status of the host, after which the old target holds; or
    /// [`Error::ContractViolation`].
    pub fn retarget<T: HoldsIrte>(&self, irte: &mut T, target: Target) -> Result<(), Error> {
        let origin = irte.irte().origin;
        let mut results = [Err(EntryError::NotAsked)];
        self.retarget_batch(core::slice::from_mut(irte), &[target], &mut results, BatchMode::Partial)?;
        let [result] = results;
        result.map_err(|error| entry_error(Operation::RETARGET, origin, error))
    }

    /// Parks one interrupt: the host holds what the device raises, and delivers it at the next
    /// [`Remapping::retarget`].
    ///
    /// # Errors
    /// As for [`Remapping::retarget`].
    pub fn park<T: HoldsIrte>(&self, irte: &mut T) -> Result<(), Error> {
        self.retarget(irte, Target::Parked)
    }

    /// Gives many interrupts, of any devices, the targets at the same index of `targets`, and stores the result of
    /// each at the same index of `results`. Returns the number of those that were carried out. `irtes` are IRTEs,
    /// programmed or live entries, or `&mut` of these.
    ///
    /// A batch longer than one call is split; with [`BatchMode::AllOrNothing`] it is refused.
    ///
    /// # Errors
    /// If a call failed as a whole, or [`Error::LengthMismatch`] or [`Error::TooMany`]. With
    /// [`BatchMode::AllOrNothing`] also if one entry failed: `results` say which.
    pub fn retarget_batch<T: HoldsIrte>(
        &self,
        irtes: &mut [T],
        targets: &[Target],
        results: &mut [RetargetResult],
        mode: BatchMode,
    ) -> Result<usize, Error> {
        for others in [targets.len(), results.len()] {
            if irtes.len() != others {
                return Err(Error::LengthMismatch { requests: irtes.len(), others });
            }
        }
        results.fill(Err(EntryError::NotAsked));
        let outcome = self.transport.run(&mut Retarget { irtes, targets, results }, mode);
        for ((irte, target), result) in irtes.iter_mut().zip(targets).zip(results) {
            if result.is_ok() {
                irte.irte_mut().target = *target;
            }
        }
        outcome
    }
}

struct Retarget<'a, T> {
    irtes: &'a [T],
    targets: &'a [Target],
    results: &'a mut [RetargetResult],
}

impl<T: HoldsIrte> Batch for Retarget<'_, T> {
    const OPERATION: Operation = Operation::RETARGET;
    type Record = EntryRecord;
    type Answer = ();

    fn len(&self) -> usize {
        self.irtes.len()
    }

    fn request(&self, index: usize) -> Option<EntryRecord> {
        let irte = self.irtes.get(index)?.irte();
        let target = self.targets.get(index)?;
        Some(target.put(irte.origin.record()).with_handle(irte.handle))
    }

    fn validate(
        &self,
        AnswerPosition { index, record, .. }: AnswerPosition,
        request: &EntryRecord,
        answer: &EntryRecord,
    ) -> Result<(), ContractViolation> {
        let (Some(irte), Some(target)) = (self.irtes.get(index), self.targets.get(index)) else {
            return Err(ContractViolation::NothingFailed);
        };
        let irte = irte.irte();
        check::same_entry(record, request, answer)?;
        check::same_routing(record, request, answer)?;
        check::handle(record, request, answer)?;
        check::retargeted_state(record, *target, answer)?;
        if answer.pair() != irte.pair {
            return Err(ContractViolation::PairChanged { record, was: irte.pair, now: answer.pair() });
        }
        Ok(())
    }

    fn results(&mut self) -> &mut [RetargetResult] {
        self.results
    }
}
