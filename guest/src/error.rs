//! Errors of calls and of single records: what the host refused, and what cannot be asked.

use crate::{ContractViolation, Origin};
use pvir_abi::{DeviceId, Features, GuestPhysAddr, Operation, Refusal};

/// Why a call, or a batch of calls, failed as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host answered the call with a status that is no success. Nothing was done.
    #[error("{operation:?}: {status}")]
    Status {
        /// The operation that was asked for.
        operation: Operation,
        /// The status.
        status: pvir_abi::StatusError,
    },
    /// The host answered the only record of a call with a status that is no success.
    #[error("{operation:?} of {origin}: {status}")]
    Entry {
        /// The operation that was asked for.
        operation: Operation,
        /// The entry of the record.
        origin: Origin,
        /// The status.
        status: pvir_abi::StatusError,
    },
    /// The host answered the only record of an ATTACH or a DETACH with a status that is no success.
    #[error("{operation:?} of device {device}: {status}")]
    Device {
        /// The operation that was asked for.
        operation: Operation,
        /// The device of the record.
        device: DeviceId,
        /// The status.
        status: pvir_abi::StatusError,
    },
    /// The host refuses ENABLE, or the ATTACH of this device: the guest may not program it. MSI-X works by trapping, as
    /// without pvir.
    #[error(
        "the host refuses direct programming because of device {device}: {reason:?}; go on with trapped MSI-X"
    )]
    Refused {
        /// The reason.
        reason: Refusal,
        /// The device that the reason is about.
        device: DeviceId,
    },
    /// The host's answer breaks the contract. What the host did is unknown.
    #[error("{operation:?}: the host broke the contract: {violation}")]
    ContractViolation {
        /// The operation that was asked for.
        operation: Operation,
        /// How the answer breaks it.
        violation: ContractViolation,
    },
    /// [`BatchMode::AllOrNothing`](crate::BatchMode::AllOrNothing) was asked of more entries than one call carries.
    /// The host was not called.
    #[error("all or nothing of {requested} entries, but one call carries {max}; split the batch")]
    TooMany {
        /// Number of entries in the batch.
        requested: usize,
        /// Maximum number of entries in one call.
        max: usize,
    },
    /// The slices of a batch differ in length: there must be one target and one place for a result to each request.
    /// The host was not called.
    #[error("{requests} requests but {others} places")]
    LengthMismatch {
        /// Number of requests.
        requests: usize,
        /// Length of the slice that differs.
        others: usize,
    },
    /// A place for a result still holds an IRTE, which would be lost. The host was not called.
    #[error("place {index} for a result still holds an IRTE")]
    ResultInUse {
        /// The index of the place.
        index: usize,
    },
    /// Two requests of one batch name the same entry. The host was not called.
    #[error("{origin} was asked for twice in one batch")]
    DuplicateEntry {
        /// The entry that is named twice.
        origin: Origin,
    },
    /// The host does not offer these features, which were asked for. It was not called.
    #[error("the host does not offer features {:#x}", .0.bits())]
    FeaturesNotOffered(Features),
    /// One of these features came without what belongs to it, or the other way round: EPOCH and an event area, NOTIFY
    /// and a vector come together only, and NOTIFY needs EPOCH. The host was not called.
    #[error("features {:#x} need an event area or a vector, or came without the feature", .0.bits())]
    InconsistentOptions(Features),
    /// The conduit cannot carry this address of the request block.
    #[error("the conduit cannot reach a block at {0:?}; place it below 16 TiB")]
    BlockOutOfReach(GuestPhysAddr),
}

impl Error {
    /// Whether the host refuses the call for now, because the guest has had too much done in too short a time (O7).
    ///
    /// Nothing of this call was done. The same call may be made again, after a second without calls for certain. The host
    /// never answers so to a RETARGET of one entry, to UNMAP or to DISABLE. Of a batch that takes several calls, the
    /// earlier ones were carried out; each of its results tells.
    #[must_use]
    pub fn is_rate_limited(&self) -> bool {
        let (Self::Status { status, .. } | Self::Entry { status, .. }) = self else { return false };
        status.status() == pvir_abi::Status::RATE_LIMITED
    }
}

/// Why one record of a batch was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The host was not asked for it, because the batch ended before. This is also the value to begin with.
    #[error("not asked: the batch ended before")]
    NotAsked,
    /// The host answered this record, or the call that carried it, with a status that is no success.
    #[error("{0}")]
    Status(pvir_abi::StatusError),
    /// The answer to the call that carried it breaks the contract. What became of the entry is unknown.
    #[error("the host's answer to the call breaks the contract")]
    ContractViolation,
}

impl EntryError {
    /// Whether the host refused the call that carried it for now ([`Error::is_rate_limited`]).
    #[must_use]
    pub fn is_rate_limited(&self) -> bool {
        matches!(self, Self::Status(status) if status.status() == pvir_abi::Status::RATE_LIMITED)
    }
}
