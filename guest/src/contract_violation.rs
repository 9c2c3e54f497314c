//! Answers by which a host breaks the contract.

use core::fmt;
use pvir_abi::{Conduits, Handle, Pair, Status};

/// How an answer of the host breaks the contract.
///
/// Records are numbered within one call, from 0. Nothing of such an answer was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ContractViolation {
    /// A field of the header that only the guest writes came back changed (statement B3).
    HeaderChanged {
        /// The name of the field.
        field: &'static str,
    },
    /// The call returned, but the status in the header was not written.
    CallPending,
    /// The conduit and the header answer different statuses: the conduit is broken, or another hypervisor answered
    /// (statement C7).
    ConduitDisagrees {
        /// The status that the conduit answered.
        conduit: Status,
        /// The status in the header.
        header: Status,
    },
    /// The call has a status that calls never have (statement B4).
    CallStatus(Status),
    /// The header's `done` is not the number of records that are OK (statement O1).
    Done {
        /// The number in the header.
        said: u32,
        /// The number of records that are OK.
        counted: u32,
    },
    /// The epoch is 0 while pvir is enabled, or went back (statement E8).
    Epoch {
        /// The latest epoch known before.
        before: u64,
        /// The epoch in the header.
        said: u64,
    },
    /// A field of a record that only the guest writes came back changed (statement B3).
    RecordChanged {
        /// Number of the record.
        record: usize,
        /// The name of the field.
        field: &'static str,
    },
    /// A record has a status that records never have, or do not have in a call with this status (statements O2 and
    /// O3).
    RecordStatus {
        /// Number of the record.
        record: usize,
        /// The status of the record.
        status: Status,
    },
    /// The call is PARTIAL or ABORTED, but no record failed.
    NothingFailed,
    /// A field is not zero in a record that failed, or in the answer of an operation that does not answer it
    /// (statement O5).
    NotZero {
        /// Number of the record.
        record: usize,
        /// The name of the field.
        field: &'static str,
    },
    /// The handle of an entry is 0 (statement H1).
    NoHandle {
        /// Number of the record.
        record: usize,
    },
    /// Two entries have the same handle (statement H1).
    HandleTwice {
        /// Number of the record.
        record: usize,
        /// The handle.
        handle: Handle,
    },
    /// Two entries of one device have the same pair (statement M9).
    PairTwice {
        /// Number of the record.
        record: usize,
        /// The pair.
        pair: Pair,
    },
    /// The pair of an entry is no interrupt message (statements M9 and M10).
    BadPair {
        /// Number of the record.
        record: usize,
        /// The pair.
        pair: Pair,
    },
    /// The pair of an entry is not the one that its MAP answered (statement M2).
    PairChanged {
        /// Number of the record.
        record: usize,
        /// The pair of the MAP.
        was: Pair,
        /// The pair that the host answers now.
        now: Pair,
    },
    /// The state of an entry has unknown bits, or does not fit the request.
    State {
        /// Number of the record.
        record: usize,
        /// The bits of the state.
        state: u32,
    },
    /// The routing that QUERY answers is unknown or malformed.
    Routing {
        /// Number of the record.
        record: usize,
    },
    /// A number that DEVICE_INFO answers is beyond what any device has.
    Limit {
        /// Number of the record.
        record: usize,
        /// The name of the field.
        field: &'static str,
    },
    /// FEATURES and CPUID differ (statement D3).
    NotAsDiscovered {
        /// The name of the field in which they differ.
        field: &'static str,
    },
    /// ENABLE was refused without a reason (statement E6).
    NoReason,
    /// ENABLE was granted, but the event area was not written (statement V1).
    EventArea,
    /// FEATURES and CPUID name different conduits (statement D3).
    Conduits {
        /// The conduits in CPUID.
        discovered: Conduits,
        /// The conduits in FEATURES.
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
