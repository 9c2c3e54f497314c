//! Why a function cannot be made or moved.

use super::mapper::BarRange;
use crate::pci::BarError;
use crate::service::SetupError;
use pvir_abi::DeviceId;
use std::io;

/// Why a function could not be made, or why what the guest asked of its BARs was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FunctionError {
    /// The device's BARs are none that PCI has.
    #[error("{function}: the BARs are none that PCI has")]
    Bars {
        /// The function, by segment and BDF as the guest sees them.
        function: DeviceId,
        /// What is wrong with them.
        source: BarError,
    },
    /// The host's device could not be read.
    #[error("{device}: {operation}")]
    Device {
        /// The device, by its address on the host.
        device: DeviceId,
        /// The operation, as a phrase for messages.
        operation: String,
        /// The error of the operation.
        source: io::Error,
    },
    /// The parts of an emulated function do not fit each other.
    #[error("{function}: {what}")]
    Mismatch {
        /// The function, by segment and BDF as the guest sees them.
        function: DeviceId,
        /// What does not fit.
        what: String,
    },
    /// The service does not take the device.
    #[error(transparent)]
    Service(#[from] SetupError),
    /// The VMM did not do what a BAR asks for.
    #[error(
        "{}: BAR{} at {:#x}, {:#x} bytes, {operation}",
        range.function, range.bar, range.address, range.size
    )]
    Mapper {
        /// The BAR, and where it is.
        range: BarRange,
        /// What has become of it, as a phrase for messages: it does not decode, it stays trapped, or it stays mapped.
        operation: &'static str,
        /// The VMM's error.
        source: io::Error,
    },
    /// The function cannot be saved or restored.
    #[error("{function} ({name}): {operation}")]
    State {
        /// The function, by segment and BDF as the guest sees them.
        function: DeviceId,
        /// Its name, for people.
        name: String,
        /// What was done, and what came of it, as a phrase for messages.
        operation: String,
        /// The error of the device.
        source: io::Error,
    },
    /// The function does not have this BAR.
    #[error("{function}: there is no BAR{bar}, or {address:#x} is no address for it")]
    NoSuchBar {
        /// The function, by segment and BDF as the guest sees them.
        function: DeviceId,
        /// Number of the BAR.
        bar: u8,
        /// The address that it was to get.
        address: u64,
    },
}

/// The error with the one that is behind it, for logs.
pub(super) fn with_source(error: &FunctionError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
