//! The window through which the service gives the guest the MSI-X table, and takes it back.

use super::error::with_source;
use super::placement::Placement;
use crate::device::TableWindow;
use std::io;
use std::sync::Weak;

/// A function's window. It does not keep the function: what is gone has nothing that is mapped.
pub(super) struct FunctionWindow(pub(super) Weak<Placement>);

impl FunctionWindow {
    fn set(&self, open: bool) -> io::Result<()> {
        let Some(placement) = self.0.upgrade() else { return Ok(()) };
        placement.set_open(open).map_err(|error| io::Error::other(with_source(&error)))
    }
}

impl TableWindow for FunctionWindow {
    /// Closed again if it fails.
    fn open(&mut self) -> io::Result<()> {
        self.set(true).inspect_err(|_| {
            // The first failure is the one to report.
            let _ = self.set(false);
        })
    }

    fn close(&mut self) -> io::Result<()> {
        self.set(false)
    }
}
