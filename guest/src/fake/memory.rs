//! Memory that the fake host shares with the driver. It is never freed, and both sides reach it by volatile accesses.
#![expect(unsafe_code, reason = "shared memory is reached by raw pointers")]

use super::std::alloc::{Layout, alloc_zeroed};
use super::std::vec::Vec;
use core::ptr::NonNull;

/// Shared memory at a guest physical address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    pub(super) pointer: NonNull<u8>,
    pub(super) address: u64,
    pub(super) len: usize,
}

// SAFETY: reached by volatile accesses only, which the driver's lock and the host's mutex put in order.
unsafe impl Send for Shared {}

impl Shared {
    /// `len` bytes, aligned to 4096, which the host finds at `address`.
    pub(super) fn new(address: u64, len: usize) -> Self {
        let layout = Layout::from_size_align(len, 4096).unwrap();
        // SAFETY: the layout has a size.
        let pointer = unsafe { alloc_zeroed(layout) };
        Self { pointer: NonNull::new(pointer).unwrap(), address, len }
    }

    pub(super) fn read(&self, len: usize) -> Vec<u8> {
        assert!(len <= self.len, "statement B1: {len} bytes do not fit into the block of {}", self.len);
        // SAFETY: `at` is in the allocation, which is never freed.
        (0..len).map(|at| unsafe { self.at(at).read_volatile() }).collect()
    }

    pub(super) fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len);
        for (at, byte) in bytes.iter().enumerate() {
            // SAFETY: `at` is in the allocation, which is never freed.
            unsafe { self.at(at).write_volatile(*byte) };
        }
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.len);
        // SAFETY: within the allocation.
        unsafe { self.pointer.add(offset) }
    }
}
