#![expect(unsafe_code, reason = "who says that memory stays where it is vouches for what KVM does with it")]
//! Memory of this process that a guest can be given.

use super::RegionMap;
use std::fmt;
use vm_memory::MmapRegion;

/// Memory of this process that a guest can be given: KVM then reads and writes it on behalf of the guest.
///
/// # Safety
/// From `address()` on, `size()` bytes are mapped and stay so, unmoved, as long as the value lives; and nothing in this
/// process holds Rust references into them that a guest's writes would break.
pub unsafe trait HostMemory: Send + Sync + fmt::Debug {
    /// The address of the memory in this process, aligned to 4 KiB.
    fn address(&self) -> u64;

    /// The length of the memory in bytes.
    fn size(&self) -> u64;
}

// SAFETY: a `RegionMap` stays mapped, unmoved, until it is dropped, and gives access only by volatile words and a raw
// pointer.
unsafe impl HostMemory for RegionMap {
    fn address(&self) -> u64 {
        Self::address(self) as u64
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

// SAFETY: an `MmapRegion` stays mapped until it is dropped, and gives access only by volatile copies and raw pointers.
unsafe impl HostMemory for MmapRegion {
    fn address(&self) -> u64 {
        self.as_ptr() as u64
    }

    fn size(&self) -> u64 {
        self.size() as u64
    }
}
