//! ATTACH and DETACH: a guest takes its devices one at a time (statements A1 to A8).

use crate::call::AnswerPosition;
use crate::record::BatchRecord;
use crate::{BlockLock, Conduit, ContractViolation, Error, MapRequest, Origin, Remapping, Target};
use pvir_abi::{AttachRecord, DeviceId, Operation, Refusal, Status};

/// A device that the guest has taken, in a session with [`EnableOptions::device_by_device`]: its entries can be mapped.
///
/// The token exists once, from ATTACH to DETACH, and the requests for the device's entries are made from it. In a
/// session without ATTACH, where ENABLE hands every device over, there is none, and requests are made as ever.
/// Dropped, the device stays attached until DISABLE.
///
/// [`EnableOptions::device_by_device`]: crate::EnableOptions::device_by_device
#[must_use = "without it the device is attached until DISABLE"]
#[derive(PartialEq, Eq, Debug)]
pub struct AttachedDevice {
    id: DeviceId,
}

/// The error of [`Remapping::detach`], with the device, which is still attached.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct DetachFailed {
    /// The device.
    pub device: AttachedDevice,
    /// Why DETACH failed.
    pub error: Error,
}

impl AttachedDevice {
    /// The device.
    #[must_use]
    pub const fn id(&self) -> DeviceId {
        self.id
    }

    /// The request to map entry `index` of the MSI-X table.
    #[must_use]
    pub const fn msix(&self, index: u32, target: Target) -> MapRequest {
        MapRequest::new(Origin::msix(self.id, index), target)
    }

    /// The request to map the MSI capability, with `count` messages.
    #[must_use]
    pub const fn msi(&self, count: u32, target: Target) -> MapRequest {
        MapRequest::new(Origin::msi(self.id, count), target)
    }

    /// The request to map IMS entry `index`.
    #[must_use]
    pub const fn ims(&self, index: u32, target: Target) -> MapRequest {
        MapRequest::new(Origin::ims(self.id, index), target)
    }
}

impl<C: Conduit, L: BlockLock> Remapping<C, L> {
    /// Takes a device: ATTACH. Until then it goes on as before ENABLE, with the messages that its driver has written.
    ///
    /// When this returns every entry of its MSI-X table is masked, and the table is mapped into the guest where the
    /// device has DIRECT. What was pending, and what the device has raised meanwhile, comes with the first MAP of its
    /// entry to a vCPU, once and sometimes without cause (statement A5): the handler is in place before.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason of the host, [`Error::Device`] or [`Error::Status`] with its status, for
    /// instance BAD_OPERATION in a session without ATTACH; [`Error::ContractViolation`]. The device then goes on as
    /// before.
    pub fn attach(&self, device: DeviceId) -> Result<AttachedDevice, Error> {
        let operation = Operation::ATTACH;
        let request = AttachRecord::request(device);
        let mut reason = Refusal::NONE;
        let answer = self.transport.ask_for_reason(
            operation,
            &request,
            |at, answer| not_refused(at, &request, answer),
            |_, answer| {
                reason = answer.refusal;
                Ok(())
            },
        )?;
        match answer {
            Ok(()) => Ok(AttachedDevice { id: device }),
            Err(status) if status.status() == Status::REFUSED => Err(Error::Refused { reason, device }),
            Err(status) => Err(Error::Device { operation, device, status }),
        }
    }

    /// Gives a device back: DETACH. Every IRTE of it is given back too, whoever holds its token, and its entries are
    /// masked and zero: mask and retire them before.
    ///
    /// What its entries raised meanwhile is pending, and sent when the driver has written messages of its own and
    /// unmasked them, once and sometimes without cause (statement A7). Of IMS it may be lost.
    ///
    /// # Errors
    /// [`DetachFailed`] with the device, and in it [`Error::Device`], for instance with DEVICE_GONE,
    /// [`Error::Status`] or [`Error::ContractViolation`].
    pub fn detach(&self, device: AttachedDevice) -> Result<(), DetachFailed> {
        let operation = Operation::DETACH;
        let request = AttachRecord::request(device.id);
        if let Some(ledger) = &self.ledger {
            ledger.forget_all();
        }
        let answer = self.transport.ask_for_reason(
            operation,
            &request,
            |at, answer| not_refused(at, &request, answer),
            |at, answer| match answer.status {
                // What the guest has cannot be refused to be taken back.
                status @ Status::REFUSED => {
                    Err(ContractViolation::RecordStatus { record: at.record, status })
                }
                _ => Ok(()),
            },
        );
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => {
                let error = Error::Device { operation, device: device.id, status };
                Err(DetachFailed { device, error })
            }
            Err(error) => Err(DetachFailed { device, error }),
        }
    }
}

/// Checks the fields that every answer has.
fn echoed(record: usize, request: &AttachRecord, answer: &AttachRecord) -> Result<(), ContractViolation> {
    let fields = [
        ("device", answer.device == request.device),
        ("reserved", (answer.reserved0, answer.reserved1) == (0, [0; 6])),
    ];
    match fields.into_iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(ContractViolation::RecordChanged { record, field }),
        None => Ok(()),
    }
}

/// Checks an answer that gives no reason.
fn not_refused(
    AnswerPosition { record, .. }: AnswerPosition,
    request: &AttachRecord,
    answer: &AttachRecord,
) -> Result<(), ContractViolation> {
    echoed(record, request, answer)?;
    if answer.refusal == Refusal::NONE {
        Ok(())
    } else {
        Err(ContractViolation::NotZero { record, field: "refusal" })
    }
}

impl BatchRecord for AttachRecord {
    fn check_failed(&self, record: usize, answer: &Self) -> Result<(), ContractViolation> {
        echoed(record, self, answer)?;
        match (answer.status == Status::REFUSED, answer.refusal == Refusal::NONE) {
            (true, true) => Err(ContractViolation::NoReason),
            (false, false) => Err(ContractViolation::NotZero { record, field: "refusal" }),
            _ => Ok(()),
        }
    }
}
