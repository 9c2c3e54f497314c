//! Errors: what the host refused, and what the kernel asked wrongly.

use crate::{ContractViolation, Origin};
use core::fmt;
use pvir_abi::{DeviceId, Features, GuestPhysAddr, Operation, Refusal};

/// Why a call failed as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The host answered the call with a status. Nothing was done.
    Status {
        /// What was asked.
        operation: Operation,
        /// The answer.
        status: pvir_abi::StatusError,
    },
    /// The host answered the one record of a call with a status.
    Entry {
        /// What was asked.
        operation: Operation,
        /// Of which entry.
        origin: Origin,
        /// The answer.
        status: pvir_abi::StatusError,
    },
    /// The host will not let this VM program its devices. Trapped MSI-X works.
    Refused {
        /// Why.
        reason: Refusal,
        /// The device that the reason is about.
        device: DeviceId,
    },
    /// The host's answer breaks the contract. What it did is unknown.
    ContractViolation {
        /// What was asked.
        operation: Operation,
        /// What is wrong with the answer.
        violation: ContractViolation,
    },
    /// All or nothing was asked of more entries than one call carries. Nothing was asked.
    TooMany {
        /// Entries.
        requested: usize,
        /// Most entries in one call.
        max: usize,
    },
    /// There are not as many places for results, or targets, as there are requests. Nothing was asked.
    LengthMismatch {
        /// Requests.
        requests: usize,
        /// The other slice.
        others: usize,
    },
    /// A place for a result still holds an IRTE, which would be lost. Nothing was asked.
    ResultInUse {
        /// Its place.
        index: usize,
    },
    /// Two requests of one batch name the same entry. Nothing was asked.
    DuplicateEntry {
        /// The entry.
        origin: Origin,
    },
    /// Features were asked for that the host does not offer.
    FeaturesNotOffered(Features),
    /// EPOCH and an event area, or NOTIFY and a vector, come only together; NOTIFY needs EPOCH.
    InconsistentOptions(Features),
    /// The conduit cannot name the block's address.
    BlockOutOfReach(GuestPhysAddr),
}

/// Why one record of a batch failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EntryError {
    /// It was not asked: the batch ended before.
    NotAsked,
    /// The host's status for this record, or for the call that carried it.
    Status(pvir_abi::StatusError),
    /// The answer to the call that carried it breaks the contract; what became of the entry is unknown.
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
