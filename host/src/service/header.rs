//! What is common to all calls: the header, validated in the order of the contract (statement B6).

use super::is_zero;
use pvir_abi::{CallFlags, Discovery, Features, Header, Operation, REQUEST_MAGIC, Status};

/// Validates the header; answers with its flags. `taken` are the features of the session, if there is one.
pub(super) fn validate(
    header: &Header,
    discovery: &Discovery,
    taken: Option<Features>,
) -> Result<CallFlags, Status> {
    if header.magic != REQUEST_MAGIC {
        return Err(Status::BAD_MAGIC);
    }
    let operation = header.operation;
    let spoken = (discovery.oldest..=discovery.newest).contains(&header.version);
    if !spoken && operation != Operation::FEATURES {
        return Err(Status::BAD_VERSION);
    }
    let by_device = taken.is_some_and(|taken| taken.contains(Features::ATTACH));
    if operation.name().is_none() || (operation.takes_devices() && !by_device) {
        return Err(Status::BAD_OPERATION);
    }
    let known = match operation {
        Operation::MAP | Operation::RETARGET | Operation::UNMAP => CallFlags::ALL_OR_NOTHING,
        _ => CallFlags::empty(),
    };
    let flags = CallFlags::from_bits(header.flags).filter(|flags| known.contains(*flags));
    let flags = flags.ok_or(Status::BAD_FLAGS)?;
    if !is_zero(&header.reserved) {
        return Err(Status::RESERVED_NOT_ZERO);
    }
    let counts = match operation {
        Operation::DISABLE => 0..=0,
        Operation::FEATURES | Operation::ENABLE => 1..=1,
        _ => 1..=discovery.max_records,
    };
    if !counts.contains(&header.count) {
        return Err(Status::BAD_COUNT);
    }
    if taken.is_none() && (operation.takes_entries() || operation == Operation::DISABLE) {
        return Err(Status::NOT_ENABLED);
    }
    Ok(flags)
}
