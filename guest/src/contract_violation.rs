//! What no honest host says.

use core::fmt;
use pvir_abi::{Conduits, Handle, Pair, Status};

/// What no host that keeps the contract says. `record` counts within one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ContractViolation {
    /// A field of the header that is the guest's came back changed.
    HeaderChanged {
        /// The field.
        field: &'static str,
    },
    /// The call came back, but the header's status was not written.
    CallPending,
    /// The conduit's status is not the header's: broken conduit, or another hypervisor answered.
    ConduitDisagrees {
        /// What the conduit answered.
        conduit: Status,
        /// What the header says.
        header: Status,
    },
    /// A status that a call never has.
    CallStatus(Status),
    /// `done` is not the number of records that are OK.
    Done {
        /// What the header says.
        said: u32,
        /// What the records say.
        counted: u32,
    },
    /// The epoch is 0 while enabled, or went back.
    Epoch {
        /// The latest epoch known before.
        before: u64,
        /// What the header says.
        said: u64,
    },
    /// A field of a record that is the guest's came back changed.
    RecordChanged {
        /// Number of the record.
        record: usize,
        /// The field.
        field: &'static str,
    },
    /// A status that a record never has, or not in this call.
    RecordStatus {
        /// Number of the record.
        record: usize,
        /// The status.
        status: Status,
    },
    /// The call is PARTIAL or ABORTED, but no record says why.
    NothingFailed,
    /// A record that failed, or an answer that has no such field, carries one.
    NotZero {
        /// Number of the record.
        record: usize,
        /// The field.
        field: &'static str,
    },
    /// A handle of 0.
    NoHandle {
        /// Number of the record.
        record: usize,
    },
    /// Two entries with one handle.
    HandleTwice {
        /// Number of the record.
        record: usize,
        /// The handle.
        handle: Handle,
    },
    /// Two entries of one device with one pair.
    PairTwice {
        /// Number of the record.
        record: usize,
        /// The pair.
        pair: Pair,
    },
    /// A pair that is no message to an interrupt controller.
    BadPair {
        /// Number of the record.
        record: usize,
        /// The pair.
        pair: Pair,
    },
    /// A pair that is not the one of the MAP.
    PairChanged {
        /// Number of the record.
        record: usize,
        /// The pair of the MAP.
        was: Pair,
        /// What the host says now.
        now: Pair,
    },
    /// State bits that are unknown, or do not fit what was asked.
    State {
        /// Number of the record.
        record: usize,
        /// The bits.
        state: u32,
    },
    /// A routing that is unknown or malformed, in an answer of QUERY.
    Routing {
        /// Number of the record.
        record: usize,
    },
    /// A number that no device has.
    Limit {
        /// Number of the record.
        record: usize,
        /// The field.
        field: &'static str,
    },
    /// FEATURES and CPUID differ.
    NotAsDiscovered {
        /// In what.
        field: &'static str,
    },
    /// ENABLE was refused without a reason.
    NoReason,
    /// ENABLE was granted, but the event area was not written.
    EventArea,
    /// The conduits of FEATURES and CPUID differ.
    Conduits {
        /// In CPUID.
        discovered: Conduits,
        /// In FEATURES.
        said: Conduits,
    },
}

impl fmt::Display for ContractViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderChanged { field } => write!(f, "header field {field} came back changed"),
            Self::CallPending => f.write_str("the status of the call was not written"),
            Self::ConduitDisagrees { conduit, header } => {
                write!(f, "the conduit answers {conduit:?}, the header {header:?}")
            }
            Self::CallStatus(status) => write!(f, "a call never has status {status:?}"),
            Self::Done { said, counted } => write!(f, "done is {said}, but {counted} records are OK"),
            Self::Epoch { before, said } => write!(f, "epoch {said} after {before}"),
            Self::RecordChanged { record, field } => {
                write!(f, "field {field} of record {record} came back changed")
            }
            Self::RecordStatus { record, status } => {
                write!(f, "record {record} has status {status:?} in this call")
            }
            Self::NothingFailed => f.write_str("the call failed in part, but no record did"),
            Self::NotZero { record, field } => write!(f, "field {field} of record {record} is not zero"),
            Self::NoHandle { record } => write!(f, "record {record} has no handle"),
            Self::HandleTwice { record, handle } => {
                write!(f, "record {record} has handle {handle} of another entry")
            }
            Self::PairTwice { record, pair } => {
                write!(f, "record {record} has pair {pair} of another entry of its device")
            }
            Self::BadPair { record, pair } => {
                write!(f, "pair {pair} of record {record} is no interrupt message")
            }
            Self::PairChanged { record, was, now } => {
                write!(f, "the pair of record {record} was {was} and is {now}")
            }
            Self::State { record, state } => {
                write!(f, "state {state:#x} of record {record} does not fit the request")
            }
            Self::Routing { record } => write!(f, "the routing of record {record} is malformed"),
            Self::Limit { record, field } => write!(f, "field {field} of record {record} is out of range"),
            Self::NotAsDiscovered { field } => write!(f, "{field} of FEATURES is not that of cpuid"),
            Self::NoReason => f.write_str("refused without a reason"),
            Self::EventArea => f.write_str("the event area was not written"),
            Self::Conduits { discovered, said } => {
                write!(f, "conduits are {:#x} in cpuid, {:#x} in FEATURES", discovered.bits(), said.bits())
            }
        }
    }
}

impl core::error::Error for ContractViolation {}
