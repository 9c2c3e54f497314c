//! Registers of devices, mapped for reading: neither `/dev/mem` nor sysfs lets them be read as a file.

#![expect(unsafe_code, reason = "a mapping, and volatile reads of it, are what registers take")]

use std::fs::File;
use std::path::Path;
use std::ptr::{self, NonNull};

use anyhow::{Context, Result, bail};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

const PAGE: u64 = 4096;

/// A range of registers.
pub(crate) struct Window {
    base: NonNull<u8>,
    mapped: usize,
    /// Where the range begins in the mapping, and how long it is.
    start: usize,
    length: usize,
}

impl Window {
    /// Maps `length` bytes at `offset` of a file of registers.
    pub(crate) fn map(path: &Path, offset: u64, length: usize) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let start = usize::try_from(offset % PAGE)?;
        let mapped = start.checked_add(length).context("a range of registers that wraps")?;
        // SAFETY: the kernel chooses the place, so no memory of ours is touched.
        let base = unsafe {
            mmap(ptr::null_mut(), mapped, ProtFlags::READ, MapFlags::SHARED, &file, offset - offset % PAGE)
        };
        let base = base.with_context(|| format!("cannot map {offset:#x} of {}", path.display()))?;
        let base = NonNull::new(base.cast()).context("a mapping at address zero")?;
        Ok(Self { base, mapped, start, length })
    }

    /// Reads a register of 32 bits.
    pub(crate) fn read(&self, offset: usize) -> Result<u32> {
        if offset % 4 != 0 || offset.checked_add(4).is_none_or(|end| end > self.length) {
            bail!("register {offset:#x} is not in a range of {:#x} bytes", self.length);
        }
        // SAFETY: `start + offset + 4` is at most `start + length`, the length of the mapping.
        let register = unsafe { self.base.add(self.start + offset) }.cast::<u32>();
        if !register.is_aligned() {
            bail!("register {offset:#x} is not aligned");
        }
        // SAFETY: aligned and inside the mapping, which lives as long as `self`; every value is a valid u32.
        Ok(unsafe { register.read_volatile() })
    }

    /// Reads two registers of 32 bits as one number, the low half first.
    pub(crate) fn read_pair(&self, offset: usize) -> Result<u64> {
        Ok(u64::from(self.read(offset)?) | u64::from(self.read(offset + 4)?) << 32)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and nothing borrows from it.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}
