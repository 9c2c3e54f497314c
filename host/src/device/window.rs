//! The seam between a device and the VMM that maps its MSI-X table into the guest.

use std::io;

/// How the VMM hands the MSI-X table to the guest, and takes it back.
pub trait TableWindow: Send {
    /// Maps the pages of the table into the guest: its accesses reach the device.
    ///
    /// # Errors
    /// As the kernel gave it; nothing is then mapped.
    fn open(&mut self) -> io::Result<()>;

    /// Unmaps them: the guest's accesses are trapped.
    ///
    /// # Errors
    /// As the kernel gave it.
    fn close(&mut self) -> io::Result<()>;
}
