//! The checks of headers and entry records, before anything in an answer is used.

use crate::record::BatchRecord;
use crate::{ContractViolation, Origin, Target};
use pvir_abi::{CallFlags, EntryRecord, EntryState, Handle, Header, Operation, Pair, Status, Store};

/// Bits 31:20 of the addresses of interrupt messages, 0xfee00000 to 0xfeefffff
/// (Intel SDM Vol. 3A, "Message Signalled Interrupts", "Message Address Register Format").
const MESSAGE_WINDOW: u64 = 0xfee;
/// The lowest status that is for records only.
const RECORD_STATUSES: u32 = 0x40;

/// What a header says of its call, once it was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Every record was carried out.
    Carried,
    /// Some records were carried out, others failed.
    Partial,
    /// A record failed, and none was carried out.
    Aborted(pvir_abi::StatusError),
    /// The call failed: nothing was done, and no record was written.
    Failed(pvir_abi::StatusError),
}

/// Checks the header `got` that answers `sent`. `before` is the latest epoch known, 0 while pvir is not enabled.
pub(crate) fn header(
    sent: &Header,
    answer: &Header,
    conduit: Status,
    before: u64,
) -> Result<Verdict, ContractViolation> {
    // Statement C3: these three cannot be written into a header that was not reached.
    let unreached = [Status::BAD_ADDRESS, Status::UNALIGNED, Status::PRIVILEGE].contains(&conduit);
    if let (true, true, Err(status)) = (unreached, answer == sent, conduit.result()) {
        return Ok(Verdict::Failed(status));
    }
    let echoed = [
        ("magic", answer.magic == sent.magic),
        ("version", answer.version == sent.version),
        ("operation", answer.operation == sent.operation),
        ("flags", answer.flags == sent.flags),
        ("count", answer.count == sent.count),
        ("reserved", answer.reserved == sent.reserved),
    ];
    if let Some((field, _)) = echoed.into_iter().find(|(_, same)| !same) {
        return Err(ContractViolation::HeaderChanged { field });
    }
    if conduit != answer.status {
        return Err(ContractViolation::ConduitDisagrees { conduit, header: answer.status });
    }
    if answer.status == Status::PENDING {
        return Err(ContractViolation::CallPending);
    }
    if before != 0 && answer.epoch < before && answer.status != Status::NOT_ENABLED {
        return Err(ContractViolation::Epoch { before, said: answer.epoch });
    }
    let whole = sent.flags & CallFlags::ALL_OR_NOTHING.bits() != 0;
    // An UNMAP that the host could not finish is not undone (U3).
    let may_be_partial = sent.count > 0 && (!whole || sent.operation == Operation::UNMAP);
    match (answer.status, answer.status.result()) {
        (_, Ok(())) => Ok(Verdict::Carried),
        (Status::PARTIAL, _) if may_be_partial => Ok(Verdict::Partial),
        (Status::ABORTED, Err(status)) if whole => Ok(Verdict::Aborted(status)),
        (Status::PARTIAL | Status::ABORTED, _) => Err(ContractViolation::CallStatus(answer.status)),
        (status, _) if status.0 >= RECORD_STATUSES => Err(ContractViolation::CallStatus(status)),
        _ if answer.done != 0 => Err(ContractViolation::Done { said: answer.done, counted: 0 }),
        (_, Err(status)) => Ok(Verdict::Failed(status)),
    }
}

/// Checks the status of a record under the call's verdict.
pub(crate) fn record_status(
    record: usize,
    status: Status,
    verdict: Verdict,
) -> Result<Result<(), pvir_abi::StatusError>, ContractViolation> {
    let wrong = Err(ContractViolation::RecordStatus { record, status });
    if [Status::PENDING, Status::PARTIAL].contains(&status) {
        return wrong;
    }
    match (verdict, status.result()) {
        (Verdict::Carried | Verdict::Partial, Ok(())) => Ok(Ok(())),
        (Verdict::Partial, Err(error)) if status != Status::ABORTED => Ok(Err(error)),
        (Verdict::Aborted(_), Err(error)) => Ok(Err(error)),
        _ => wrong,
    }
}

/// Checks the header's count of records that are OK against the records.
pub(crate) fn totals(
    answer: &Header,
    counted: u32,
    failed: bool,
    verdict: Verdict,
) -> Result<(), ContractViolation> {
    if answer.done != counted {
        return Err(ContractViolation::Done { said: answer.done, counted });
    }
    let failed_in_part = matches!(verdict, Verdict::Partial | Verdict::Aborted(_));
    if failed_in_part && !failed { Err(ContractViolation::NothingFailed) } else { Ok(()) }
}

/// Checks that the fields that name the entry are those that were sent.
pub(crate) fn same_entry(
    record: usize,
    request: &EntryRecord,
    answer: &EntryRecord,
) -> Result<(), ContractViolation> {
    first_changed(
        record,
        [
            ("device", answer.device == request.device),
            ("store", answer.store == request.store),
            ("index", answer.index == request.index),
            ("count", answer.count == request.count),
            ("flags", answer.flags == request.flags),
        ],
    )
}

/// Checks that the routing is the one that was sent.
pub(crate) fn same_routing(
    record: usize,
    request: &EntryRecord,
    answer: &EntryRecord,
) -> Result<(), ContractViolation> {
    first_changed(
        record,
        [("arch", answer.arch == request.arch), ("routing", answer.routing == request.routing)],
    )
}

fn first_changed<const N: usize>(
    record: usize,
    fields: [(&'static str, bool); N],
) -> Result<(), ContractViolation> {
    match fields.into_iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(ContractViolation::RecordChanged { record, field }),
        None => Ok(()),
    }
}

impl BatchRecord for EntryRecord {
    fn check_failed(&self, record: usize, answer: &Self) -> Result<(), ContractViolation> {
        no_answer(record, self, answer)
    }
}

/// Checks an answer without a pair: that of UNMAP, and that of any entry that failed. It may repeat the handle.
pub(crate) fn no_answer(
    record: usize,
    request: &EntryRecord,
    answer: &EntryRecord,
) -> Result<(), ContractViolation> {
    same_entry(record, request, answer)?;
    same_routing(record, request, answer)?;
    let fields = [
        ("handle", answer.handle == request.handle || answer.handle == Handle::NONE),
        ("address", answer.address == 0),
        ("data", answer.data == 0),
        ("state", answer.state == 0),
    ];
    match fields.into_iter().find(|(_, zero)| !zero) {
        Some((field, _)) => Err(ContractViolation::NotZero { record, field }),
        None => Ok(()),
    }
}

/// The handle of an answer, which is that of the request if the request had one.
pub(crate) fn handle(
    record: usize,
    request: &EntryRecord,
    answer: &EntryRecord,
) -> Result<Handle, ContractViolation> {
    if answer.handle == Handle::NONE {
        return Err(ContractViolation::NoHandle { record });
    }
    if request.handle != Handle::NONE && answer.handle != request.handle {
        return Err(ContractViolation::RecordChanged { record, field: "handle" });
    }
    Ok(answer.handle)
}

/// The pair of an answer, for `count` consecutive messages.
///
/// On Intel the address is in remappable format, on AMD it looks like a plain message and the data is an index; both
/// lie in the message window, word-aligned, with 16 bits of data, and the low bits of the data of a multi-message MSI
/// are the device's.
pub(crate) fn pair(record: usize, count: u32, answer: &EntryRecord) -> Result<Pair, ContractViolation> {
    let pair = answer.pair();
    let in_window = pair.address >> 20 == MESSAGE_WINDOW && pair.address & 3 == 0;
    let numbers = count.saturating_sub(1);
    if in_window && pair.data <= u32::from(u16::MAX) && pair.data & numbers == 0 {
        Ok(pair)
    } else {
        Err(ContractViolation::BadPair { record, pair })
    }
}

/// Checks the state of a MAP: parked as requested, and masked unless the entry was mapped before. Returns whether it
/// was.
pub(crate) fn mapped_state(
    record: usize,
    origin: Origin,
    target: Target,
    answer: &EntryRecord,
) -> Result<bool, ContractViolation> {
    let wrong = Err(ContractViolation::State { record, state: answer.state });
    let Some(state) = EntryState::from_bits(answer.state) else { return wrong };
    let existing = state.contains(EntryState::EXISTING);
    let must_mask = origin.store == Store::MSIX && !existing;
    let parked_as_asked = state & EntryState::PARKED == target.state();
    if parked_as_asked && (!must_mask || state.contains(EntryState::MASKED)) { Ok(existing) } else { wrong }
}

/// Checks the state of a RETARGET: parked as requested, and nothing said of the mask.
pub(crate) fn retargeted_state(
    record: usize,
    target: Target,
    answer: &EntryRecord,
) -> Result<(), ContractViolation> {
    if EntryState::from_bits(answer.state) == Some(target.state()) {
        Ok(())
    } else {
        Err(ContractViolation::State { record, state: answer.state })
    }
}

/// The state of a QUERY: parked or nothing.
pub(crate) fn queried_state(record: usize, answer: &EntryRecord) -> Result<EntryState, ContractViolation> {
    EntryState::from_bits(answer.state)
        .filter(|state| EntryState::PARKED.contains(*state))
        .ok_or(ContractViolation::State { record, state: answer.state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Version;

    #[test]
    fn only_an_unmap_may_be_partial_when_all_or_nothing_was_asked() {
        let check = |operation| {
            let sent = Header::request(Version::V1, operation, CallFlags::ALL_OR_NOTHING, 3);
            let answer = Header { status: Status::PARTIAL, done: 2, epoch: 1, ..sent };
            header(&sent, &answer, Status::PARTIAL, 1)
        };
        assert!(matches!(check(Operation::UNMAP), Ok(Verdict::Partial)));
        for operation in [Operation::MAP, Operation::RETARGET] {
            assert!(matches!(check(operation), Err(ContractViolation::CallStatus(Status::PARTIAL))));
        }
    }
}
