//! Errors of calls and of single records: what the host refused, and what cannot be asked.

use crate::{ContractViolation, Origin};
use core::fmt;
use pvir_abi::{DeviceId, Features, GuestPhysAddr, Operation, Refusal};

/// Why a call, or a batch of calls, failed as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The host answered the call with a status that is no success. Nothing was done.
    Status {
        /// The operation that was asked for.
        operation: Operation,
        /// The status.
        status: pvir_abi::StatusError,
    },
    /// The host answered the only record of a call with a status that is no success.
    Entry {
        /// The operation that was asked for.
        operation: Operation,
        /// The entry of the record.
        origin: Origin,
        /// The status.
        status: pvir_abi::StatusError,
    },
    /// The host refuses ENABLE: this VM may not program its devices. MSI-X works by trapping, as without pvir.
    Refused {
        /// The reason.
        reason: Refusal,
        /// The device that the reason is about.
        device: DeviceId,
    },
    /// The host's answer breaks the contract. What the host did is unknown.
    ContractViolation {
        /// The operation that was asked for.
        operation: Operation,
        /// How the answer breaks it.
        violation: ContractViolation,
    },
    /// [`BatchMode::AllOrNothing`](crate::BatchMode::AllOrNothing) was asked of more entries than one call carries.
    /// The host was not called.
    TooMany {
        /// Number of entries in the batch.
        requested: usize,
        /// Maximum number of entries in one call.
        max: usize,
    },
    /// The slices of a batch differ in length: there must be one target and one place for a result to each request.
    /// The host was not called.
    LengthMismatch {
        /// Number of requests.
        requests: usize,
        /// Length of the slice that differs.
        others: usize,
    },
    /// A place for a result still holds an IRTE, which would be lost. The host was not called.
    ResultInUse {
        /// The index of the place.
        index: usize,
    },
    /// Two requests of one batch name the same entry. The host was not called.
    DuplicateEntry {
        /// The entry that is named twice.
        origin: Origin,
    },
    /// The host does not offer these features, which were asked for. It was not called.
    FeaturesNotOffered(Features),
    /// One of these features came without what belongs to it, or the other way round: EPOCH and an event area, NOTIFY
    /// and a vector come together only, and NOTIFY needs EPOCH. The host was not called.
    InconsistentOptions(Features),
    /// The conduit cannot carry this address of the request block.
    BlockOutOfReach(GuestPhysAddr),
}

/// Why one record of a batch was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EntryError {
    /// The host was not asked for it, because the batch ended before. This is also the value to begin with.
    NotAsked,
    /// The host answered this record, or the call that carried it, with a status that is no success.
    Status(pvir_abi::StatusError),
    /// The answer to the call that carried it breaks the contract. What became of the entry is unknown.
    ContractViolation,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { operation, status } => write!(f, "{operation:?}: {status}"),
            Self::Entry { operation, origin, status } => write!(f, "{operation:?} of {origin}: {status}"),
            Self::Refused { reason, device } => {
                write!(
                    f,
                    "the host refuses direct programming because of device {device}: {reason:?}; go on with trapped MSI-X"
                )
            }
            Self::ContractViolation { operation, violation } => {
                write!(f, "{operation:?}: the host broke the contract: {violation}")
            }
            Self::TooMany { requested, max } => {
                write!(
                    f,
                    "all or nothing of {requested} entries, but one call carries {max}; split the batch"
                )
            }
            Self::LengthMismatch { requests, others } => write!(f, "{requests} requests but {others} places"),
            Self::ResultInUse { index } => write!(f, "place {index} for a result still holds an IRTE"),
            Self::DuplicateEntry { origin } => write!(f, "{origin} was asked for twice in one batch"),
            Self::FeaturesNotOffered(features) => {
                write!(f, "the host does not offer features {:#x}", features.bits())
            }
            Self::InconsistentOptions(features) => {
                write!(
                    f,
                    "features {:#x} need an event area or a vector, or came without the feature",
                    features.bits()
                )
            }
            Self::BlockOutOfReach(address) => {
                write!(f, "the conduit cannot reach a block at {address:?}; place it below 16 TiB")
            }
        }
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("not asked: the batch ended before"),
            Self::Status(status) => status.fmt(f),
            Self::ContractViolation => f.write_str("the host's answer to the call breaks the contract"),
        }
    }
}

impl core::error::Error for Error {}
impl core::error::Error for EntryError {}
