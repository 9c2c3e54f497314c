//! The answer to ENABLE, whose record is written even where it is refused.

use crate::ContractViolation;
use pvir_abi::{DeviceId, EnableRecord, Refusal, Status};

/// Checks the record of ENABLE, granted or refused.
pub(super) fn check_record(
    request: &EnableRecord,
    answer: &EnableRecord,
    status: Status,
) -> Result<(), ContractViolation> {
    let record = 0;
    if answer.status != status {
        return Err(ContractViolation::RecordStatus { record, status: answer.status });
    }
    let echoed = [
        ("features", answer.features == request.features),
        ("event_area", answer.event_area == request.event_area),
        ("notify_apic_id", answer.notify_apic_id == request.notify_apic_id),
        ("notify_vector", answer.notify_vector == request.notify_vector),
        ("reserved", (answer.reserved0, answer.reserved1) == (0, [0; 3])),
    ];
    if let Some((field, _)) = echoed.into_iter().find(|(_, same)| !same) {
        return Err(ContractViolation::RecordChanged { record, field });
    }
    match (status == Status::REFUSED, answer.refusal == Refusal::NONE, answer.device == DeviceId::default()) {
        (true, true, _) => Err(ContractViolation::NoReason),
        (false, false, _) => Err(ContractViolation::NotZero { record, field: "refusal" }),
        (false, _, false) => Err(ContractViolation::NotZero { record, field: "device" }),
        _ => Ok(()),
    }
}
