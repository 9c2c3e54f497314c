//! What the kernel supplies: access to the devices' configuration space and memory.
#![expect(unsafe_code, reason = "declares what the kernel must promise")]

use core::ptr::NonNull;
use pci_types::ConfigRegionAccess;
use x86_64::PhysAddr;

/// The kernel that embeds this driver: how it reaches the configuration space and the memory of devices.
///
/// The request block and the event area are handed over apart from it, as [`BlockMemory`](crate::BlockMemory) and
/// [`EventMemory`](crate::EventMemory): where they may lie differs most between kernels, and in a confidential VM
/// they lie in memory that is shared with the host.
///
/// # Safety
///
/// The driver reads and writes through what these methods return. Whoever implements them owes each
/// "Implementation safety" clause.
pub unsafe trait Platform {
    /// The type by which the kernel reaches configuration space.
    type Config: ConfigRegionAccess + ?Sized;

    /// The kernel's access to configuration space.
    ///
    /// # Implementation safety
    ///
    /// Reading and writing any 4-byte aligned offset below 256 of any function that the kernel names to this driver
    /// must be possible without faulting, also while other CPUs do the same. A function that is absent reads as all
    /// ones.
    fn config(&self) -> &Self::Config;

    /// Maps `len` bytes of device memory at `address`, which is 4-byte aligned but need not begin a page.
    /// `None` if it cannot be mapped.
    ///
    /// # Implementation safety
    ///
    /// The pointer must be valid for volatile reads and writes of `len` bytes until [`Platform::unmap_mmio`], must
    /// be 4-byte aligned, and must reach exactly this physical range, uncached. No Rust reference may be made to it.
    fn map_mmio(&self, address: PhysAddr, len: usize) -> Option<NonNull<u32>>;

    /// Takes back what [`Platform::map_mmio`] mapped.
    ///
    /// # Safety
    ///
    /// `pointer` and `len` are those of one earlier [`Platform::map_mmio`] of the same platform, and nothing uses
    /// the pointer any more.
    unsafe fn unmap_mmio(&self, pointer: NonNull<u32>, len: usize);
}
