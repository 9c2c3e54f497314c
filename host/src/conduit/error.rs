//! Why a conduit could not be opened.

use std::io;

/// KVM has the conduit, and refused to open it.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed, although KVM has the capability")]
#[non_exhaustive]
pub struct ConduitError {
    /// The ioctl, with what it was for.
    pub operation: &'static str,
    /// The errno.
    #[source]
    pub source: io::Error,
}

impl ConduitError {
    /// An error of `operation`, for [`Result::map_err`].
    pub(super) fn of(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { operation, source }
    }
}
