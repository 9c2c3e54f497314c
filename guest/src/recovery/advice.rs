//! What a kernel does about the interrupts of a device after the epoch has changed.

use crate::call::AnswerPosition;
use crate::query::info;
use crate::{BlockLock, Conduit, Error, Events, HoldsIrte, Remapping};
use pvir_abi::{EntryRecord, Operation, Status};

/// What a kernel does about a device whose pairs may have gone stale ([`Remapping::advise`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Advice {
    /// Nothing: the device's IRTEs are alive.
    GoOn,
    /// The device's IRTEs are gone, and the device goes on: take each of its entries again
    /// ([`Remapping::reacquire`]).
    Reacquire,
    /// The host has cut the device off. Reset it, and then take its entries again. They are refused until then
    /// (statement V10).
    ResetDevice,
    /// The device was unplugged: drop its entries and its driver.
    Forget,
}

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// Says what to do about the device of `held`, after NOTIFY's vector or at any time. The answer holds for every
    /// entry of the device that was mapped no later than `held`: one entry of each device is enough.
    ///
    /// With an event area it takes no call as long as nothing has happened, or one thing that is about another device.
    /// Otherwise it is one QUERY, and events that were overwritten cannot mislead it. The same is answered again until
    /// the kernel has acted. An IRTE that is alive is noted as alive in the epoch of the answer ([`Irte::epoch`]).
    ///
    /// [`Irte::epoch`]: crate::Irte::epoch
    ///
    /// # Errors
    /// [`Error::Entry`] or [`Error::Status`] with a status of the host that says nothing about the device, for instance
    /// RATE_LIMITED; or [`Error::ContractViolation`]. Nothing is known then: ask again.
    pub fn advise<T: HoldsIrte>(&self, held: &mut T) -> Result<Advice, Error> {
        let irte = held.irte_mut();
        if let Some(epoch) = self.events().and_then(|events| alive_by_area(events, irte)) {
            irte.epoch = epoch;
            return Ok(Advice::GoOn);
        }
        let (operation, origin, pair) = (Operation::QUERY, irte.origin, irte.pair);
        let request = origin.record().with_handle(irte.handle);
        let answer =
            self.transport.ask(operation, &request, |at: AnswerPosition, answer: &EntryRecord| {
                info(at.record, &request, answer)?.with_pair(at.record, pair)?;
                Ok(at.epoch)
            })?;
        match answer {
            Ok(epoch) => {
                irte.epoch = epoch;
                Ok(Advice::GoOn)
            }
            Err(status) => match status.status() {
                Status::STALE_HANDLE => Ok(Advice::Reacquire),
                Status::DEVICE_CUT_OFF => Ok(Advice::ResetDevice),
                Status::DEVICE_GONE | Status::NO_DEVICE => Ok(Advice::Forget),
                _ => Err(Error::Entry { operation, origin, status }),
            },
        }
    }
}

/// The epoch in which the event area alone shows that an IRTE is alive: nothing has happened since it was last known to
/// be, or one thing, to another device. `None` if the host has to be asked.
fn alive_by_area(events: &Events, irte: &crate::Irte) -> Option<u64> {
    if events.epoch() == irte.epoch {
        return Some(irte.epoch);
    }
    let event = events.read()?;
    let is_next = irte.epoch.checked_add(1) == Some(event.epoch);
    let of_another = event.device.is_some_and(|device| device != irte.origin.device);
    (is_next && of_another).then_some(event.epoch)
}
