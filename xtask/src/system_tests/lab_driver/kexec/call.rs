//! The system call.

#![expect(unsafe_code, reason = "neither std nor rustix has kexec_load")]

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;

use anyhow::{Context, Result};

/// `KEXEC_ON_CRASH` (linux/kexec.h).
const ON_CRASH: libc::c_ulong = 1;

/// What is copied to where (`struct kexec_segment`, linux/kexec.h).
#[repr(C)]
pub(super) struct Segment<'a> {
    buffer: *const c_void,
    buffer_size: usize,
    address: u64,
    size: u64,
    content: PhantomData<&'a [u8]>,
}

impl<'a> Segment<'a> {
    /// `size` bytes at a physical address, both in whole pages: the content, and zeros.
    pub(super) fn new(content: &'a [u8], address: u64, size: u64) -> Self {
        Self {
            buffer: content.as_ptr().cast(),
            buffer_size: content.len(),
            address,
            size,
            content: PhantomData,
        }
    }
}

/// Has the kernel enter `entry`, in 64-bit mode, when it crashes.
pub(super) fn load_for_crash(entry: u64, segments: &[Segment]) -> Result<()> {
    // SAFETY: the kernel reads the segments, each of which lives and is as long as it says, and writes nothing of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_kexec_load, entry, segments.len(), segments.as_ptr(), ON_CRASH) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()).context("kexec_load") }
}
