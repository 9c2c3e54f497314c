//! Answers by which a host breaks the contract.

use crate::Origin;
use pvir_abi::{Conduits, Handle, Pair, Status};

/// How an answer of the host breaks the contract.
///
/// Records are numbered within one call, from 0. Nothing of such an answer was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractViolation {
    /// A field of the header that only the guest writes came back changed (statement B3).
    #[error("header field {field} came back changed")]
    HeaderChanged {
        /// The name of the field.
        field: &'static str,
    },
    /// The call returned, but the status in the header was not written.
    #[error("the status of the call was not written")]
    CallPending,
    /// The conduit and the header answer different statuses: the conduit is broken, or another hypervisor answered
    /// (statement C7).
    #[error("the conduit answers {conduit:?}, the header {header:?}")]
    ConduitDisagrees {
        /// The status that the conduit answered.
        conduit: Status,
        /// The status in the header.
        header: Status,
    },
    /// The call has a status that calls never have (statement B4).
    #[error("a call never has status {0:?}")]
    CallStatus(Status),
    /// The header's `done` is not the number of records that are OK (statement O1).
    #[error("done is {said}, but {counted} records are OK")]
    Done {
        /// The number in the header.
        said: u32,
        /// The number of records that are OK.
        counted: u32,
    },
    /// The epoch is 0 while pvir is enabled, or went back (statement E8).
    #[error("epoch {said} after {before}")]
    Epoch {
        /// The latest epoch known before.
        before: u64,
        /// The epoch in the header.
        said: u64,
    },
    /// A field of a record that only the guest writes came back changed (statement B3).
    #[error("field {field} of record {record} came back changed")]
    RecordChanged {
        /// Number of the record.
        record: usize,
        /// The name of the field.
        field: &'static str,
    },
    /// A record has a status that records never have, or do not have in a call with this status (statements O2 and
    /// O3).
    #[error("record {record} has status {status:?} in this call")]
    RecordStatus {
        /// Number of the record.
        record: usize,
        /// The status of the record.
        status: Status,
    },
    /// The call is PARTIAL or ABORTED, but no record failed.
    #[error("the call failed in part, but no record did")]
    NothingFailed,
    /// A field is not zero in a record that failed, or in the answer of an operation that does not answer it
    /// (statement O5).
    #[error("field {field} of record {record} is not zero")]
    NotZero {
        /// Number of the record.
        record: usize,
        /// The name of the field.
        field: &'static str,
    },
    /// The handle of an entry is 0 (statement H1).
    #[error("record {record} has no handle")]
    NoHandle {
        /// Number of the record.
        record: usize,
    },
    /// Two entries have the same handle (statement H1).
    #[error("record {record} has handle {handle} of another entry")]
    HandleTwice {
        /// Number of the record.
        record: usize,
        /// The handle.
        handle: Handle,
    },
    /// Two entries of one device have the same pair (statement M9).
    #[error("record {record} has pair {pair} of another entry of its device")]
    PairTwice {
        /// Number of the record.
        record: usize,
        /// The pair.
        pair: Pair,
    },
    /// The handle of an entry is that of another IRTE, which the guest holds since an earlier batch (statement H1).
    #[error("{origin} has handle {handle}, which the guest holds for another IRTE")]
    HandleHeld {
        /// The entry that the host has just mapped.
        origin: Origin,
        /// The handle.
        handle: Handle,
    },
    /// The pair of an entry is that of another IRTE of its device, which the guest holds since an earlier batch
    /// (statement M9).
    #[error("{origin} has pair {pair}, which the guest holds for another entry of the device")]
    PairHeld {
        /// The entry that the host has just mapped.
        origin: Origin,
        /// The pair.
        pair: Pair,
    },
    /// The pair of an entry is no interrupt message (statements M9 and M10).
    #[error("pair {pair} of record {record} is no interrupt message")]
    BadPair {
        /// Number of the record.
        record: usize,
        /// The pair.
        pair: Pair,
    },
    /// The pair of an entry is not the one that its MAP answered (statement M2).
    #[error("the pair of record {record} was {was} and is {now}")]
    PairChanged {
        /// Number of the record.
        record: usize,
        /// The pair of the MAP.
        was: Pair,
        /// The pair that the host answers now.
        now: Pair,
    },
    /// The state of an entry has unknown bits, or does not fit the request.
    #[error("state {state:#x} of record {record} does not fit the request")]
    State {
        /// Number of the record.
        record: usize,
        /// The bits of the state.
        state: u32,
    },
    /// The routing that QUERY answers is unknown or malformed.
    #[error("the routing of record {record} is malformed")]
    Routing {
        /// Number of the record.
        record: usize,
    },
    /// A number that DEVICE_INFO answers is beyond what any device has.
    #[error("field {field} of record {record} is out of range")]
    Limit {
        /// Number of the record.
        record: usize,
        /// The name of the field.
        field: &'static str,
    },
    /// FEATURES and CPUID differ (statement D3).
    #[error("{field} of FEATURES is not that of cpuid")]
    NotAsDiscovered {
        /// The name of the field in which they differ.
        field: &'static str,
    },
    /// ENABLE was refused without a reason (statement E6).
    #[error("refused without a reason")]
    NoReason,
    /// ENABLE was granted, but the event area was not written (statement V1).
    #[error("the event area was not written")]
    EventArea,
    /// FEATURES and CPUID name different conduits (statement D3).
    #[error("conduits are {:#x} in cpuid, {:#x} in FEATURES", discovered.bits(), said.bits())]
    Conduits {
        /// The conduits in CPUID.
        discovered: Conduits,
        /// The conduits in FEATURES.
        said: Conduits,
    },
}
