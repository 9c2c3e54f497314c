//! The kernel's own facts for the driver: configuration space by ports, device memory by the identity map.

#![expect(unsafe_code, reason = "promises the driver what its platform must promise")]

use crate::machine::memory::ram;
use crate::machine::memory::registers::Registers;
use crate::machine::pci::config::PortAccess;
use core::ptr::NonNull;
use pvir_guest::Platform;
use x86_64::PhysAddr;

/// This kernel, as the driver sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel;

// SAFETY: configuration space is reached by the ports under a lock, any offset of the first 256 bytes. Where RAM is the
// boot information has said. Device memory is mapped uncached in the identity map, never unmapped, and no reference is
// made to it.
unsafe impl Platform for Kernel {
    type Config = PortAccess;

    fn config(&self) -> &PortAccess {
        &PortAccess
    }

    fn is_ram(&self, address: PhysAddr, len: usize) -> bool {
        ram::overlaps(address.as_u64(), len as u64)
    }

    fn map_mmio(&self, address: PhysAddr, len: usize) -> Option<NonNull<u32>> {
        if self.is_ram(address, len) {
            return None;
        }
        // SAFETY: no RAM, and the driver asks for BARs only.
        let registers = unsafe { Registers::map(address.as_u64(), len as u64) }?;
        NonNull::new(registers.address() as *mut u32)
    }

    unsafe fn unmap_mmio(&self, _pointer: NonNull<u32>, _len: usize) {
        // The identity map stays.
    }
}
