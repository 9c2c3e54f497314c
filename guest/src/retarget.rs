//! RETARGET: an interrupt gets a new target under the same pair. No device is touched.

use crate::call::{AnswerPosition, Batch, BatchMode};
use crate::{
    BlockLock, Conduit, ContractViolation, EntryError, Error, HoldsIrte, Irte, Remapping, Target, check,
};
use pvir_abi::{EntryRecord, Operation};

/// The result for one IRTE of a batch.
pub type RetargetResult = Result<(), EntryError>;

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// Gives one interrupt a new target, be it to move it, to park it or to end that it is parked.
    ///
    /// What was raised before may still arrive at the old target: keep the old handler until the old CPU has drained
    /// (statement R2).
    ///
    /// # Errors
    /// [`Error::Entry`] or [`Error::Status`] with the status of the host, after which the old target holds; or
    /// [`Error::ContractViolation`].
    pub fn retarget<T: HoldsIrte>(&self, irte: &mut T, target: Target) -> Result<(), Error> {
        let irte = irte.irte_mut();
        let move_ = Move { irte, target };
        let (operation, record) = (Operation::RETARGET, move_.record());
        let moved = self.transport.ask(operation, &record, |at, answer| move_.check(at, answer))?;
        moved.map_err(|status| Error::Entry { operation, origin: irte.origin, status })?;
        irte.target = target;
        Ok(())
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

/// One IRTE and its new target.
struct Move<'b> {
    irte: &'b Irte,
    target: Target,
}

impl Move<'_> {
    fn record(&self) -> EntryRecord {
        self.target.put(self.irte.origin.record()).with_handle(self.irte.handle)
    }

    fn check(
        &self,
        AnswerPosition { record, .. }: AnswerPosition,
        answer: &EntryRecord,
    ) -> Result<(), ContractViolation> {
        let (sent, was, now) = (self.record(), self.irte.pair, answer.pair());
        check::same_entry(record, &sent, answer)?;
        check::same_routing(record, &sent, answer)?;
        check::handle(record, &sent, answer)?;
        check::retargeted_state(record, self.target, answer)?;
        if now == was { Ok(()) } else { Err(ContractViolation::PairChanged { record, was, now }) }
    }
}

impl<T: HoldsIrte> Batch for Retarget<'_, T> {
    const OPERATION: Operation = Operation::RETARGET;
    type Record = EntryRecord;
    type Item<'b>
        = Move<'b>
    where
        Self: 'b;
    type Answer = ();

    fn len(&self) -> usize {
        self.irtes.len()
    }

    fn item(&self, index: usize) -> Option<Move<'_>> {
        Some(Move { irte: self.irtes.get(index)?.irte(), target: *self.targets.get(index)? })
    }

    fn request(item: &Move<'_>) -> EntryRecord {
        item.record()
    }

    fn validate(
        &self,
        at: AnswerPosition,
        item: &Move<'_>,
        answer: &EntryRecord,
    ) -> Result<(), ContractViolation> {
        item.check(at, answer)
    }

    fn results(&mut self) -> &mut [RetargetResult] {
        self.results
    }
}
