//! Why a call carried out nothing.

use crate::{ContractViolation, Error};
use pvir_abi::{Operation, StatusError};

/// Why a call carried out no record.
pub(super) enum Failure {
    /// The host was not called.
    Unasked(Error),
    /// The host answered the call with this status.
    Status(StatusError),
    /// One record failed, and therefore none was carried out. Each has a status of its own.
    Aborted(StatusError),
    /// The answer breaks the contract.
    Violation(ContractViolation),
}

impl From<ContractViolation> for Failure {
    fn from(violation: ContractViolation) -> Self {
        Self::Violation(violation)
    }
}

impl Failure {
    pub(super) fn into_error(self, operation: Operation) -> Error {
        match self {
            Self::Unasked(error) => error,
            Self::Status(status) | Self::Aborted(status) => Error::Status { operation, status },
            Self::Violation(violation) => {
                log::error!("pvir: {operation:?}: the host broke the contract: {violation}");
                Error::ContractViolation { operation, violation }
            }
        }
    }
}
