//! Why there is no device.

use pvir_host::function::FunctionError;
use std::io;

/// Why a test device cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestDeviceError {
    /// The memory of its MSI-X table or the thread of its rate generator: the errno of the kernel.
    #[error("the test device has no memory or no thread")]
    Resources(#[from] io::Error),
    /// The library refuses the PCI function.
    #[error(transparent)]
    Function(#[from] FunctionError),
}
