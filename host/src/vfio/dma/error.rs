//! Why a region of guest RAM is not mapped for DMA.

use std::io;

/// A region of guest RAM could not be mapped for DMA, or not be unmapped.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of guest RAM at {start:#x} ({len:#x} bytes){}", remedy(operation, source))]
#[non_exhaustive]
pub struct DmaError {
    /// The ioctl.
    pub operation: &'static str,
    /// Guest physical address of the region.
    pub start: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The error of the ioctl, with its errno; or the errno of refusing it.
    #[source]
    pub source: io::Error,
}

fn remedy(operation: &str, error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOMEM) if operation.starts_with("IOMMU_IOAS") => {
            "; help: raise the locked-memory limit (`ulimit -l`): iommufd counts all VMs of a user together"
        }
        Some(libc::ENOMEM) => "; help: raise the locked-memory limit (`ulimit -l`)",
        Some(libc::EEXIST) => "; help: it overlaps a region that is mapped",
        Some(libc::ENOENT) => "; help: only whole regions that were mapped can be unmapped",
        _ => "",
    }
}
