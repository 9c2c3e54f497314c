//! Reading guest-physical memory that others describe (start info, ACPI tables): bounded, by copy.

#![expect(unsafe_code, reason = "reads memory by its physical address")]

use super::paging;
use pvir_test_kernel::acpi::PhysicalMemory;

/// Copies `into.len()` bytes from `address`; `false` when they are not all mapped.
pub(crate) fn read(address: u64, into: &mut [u8]) -> bool {
    if address == 0 || !paging::is_mapped(address, into.len() as u64) {
        return false;
    }
    for (byte, at) in into.iter_mut().zip(address..) {
        // SAFETY: the identity map covers the byte; a volatile read of any byte pattern is a valid u8.
        *byte = unsafe { (at as *const u8).read_volatile() };
    }
    true
}

/// [`read`] as the ACPI parser wants it.
pub(crate) struct Memory;

impl PhysicalMemory for Memory {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        read(address, into)
    }
}
