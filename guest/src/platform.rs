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
/// "Implementation safety" clause. Clones of a platform are the same platform: what was mapped by one may be unmapped
/// by another.
///
/// # One value for all drivers
///
/// Tables and entries own a clone of the platform, so that a driver can own them. It is therefore a value that costs
/// nothing to clone: a type without fields, a `&'static`, or a counted reference.
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

    /// Whether any of `len` bytes at `address` is RAM, or anything else that the kernel knows not to be a PCI device's
    /// memory, such as the local APIC.
    ///
    /// The address of a BAR comes from the host. The driver asks before each [`Platform::map_mmio`], so that no host can
    /// make it write into the kernel's memory ([`PciError::BarInRam`](crate::PciError::BarInRam)).
    ///
    /// # Implementation safety
    ///
    /// The answer must be `true` for every byte of RAM of which the kernel knows, those of the request block and of the
    /// event area among them.
    fn is_ram(&self, address: PhysAddr, len: usize) -> bool;

    /// Maps `len` bytes of device memory at `address`, which is 4-byte aligned but need not begin a page.
    /// `None` if it cannot be mapped.
    ///
    /// # Implementation safety
    ///
    /// RAM must be refused, also when [`Platform::is_ram`] was not asked before. Otherwise:
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

// SAFETY: every method is that of the platform behind the reference, whose implementer has promised the clauses.
unsafe impl<P: Platform + ?Sized> Platform for &P {
    type Config = P::Config;

    fn config(&self) -> &Self::Config {
        (**self).config()
    }

    fn is_ram(&self, address: PhysAddr, len: usize) -> bool {
        (**self).is_ram(address, len)
    }

    fn map_mmio(&self, address: PhysAddr, len: usize) -> Option<NonNull<u32>> {
        (**self).map_mmio(address, len)
    }

    unsafe fn unmap_mmio(&self, pointer: NonNull<u32>, len: usize) {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { (**self).unmap_mmio(pointer, len) }
    }
}
