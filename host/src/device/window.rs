//! The interface between a device and the VMM that maps the device's MSI-X table into the guest.

use std::io;

/// Maps the pages of a device's MSI-X table into the guest, and unmaps them. The VMM implements it.
pub trait TableWindow: Send {
    /// Maps the pages into the guest: the guest's accesses reach the device without an exit.
    ///
    /// # Errors
    /// The errno of the mapping, for example of `KVM_SET_USER_MEMORY_REGION`. The pages are then not mapped.
    fn open(&mut self) -> io::Result<()>;

    /// Unmaps the pages: the guest's accesses exit to the VMM.
    ///
    /// # Errors
    /// The errno of the unmapping. The pages may then still be mapped.
    fn close(&mut self) -> io::Result<()>;
}
