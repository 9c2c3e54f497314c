#![expect(unsafe_code, reason = "a BAR is mapped into this process")]
//! Memory that a device and the guest change at any moment, mapped into this process: a BAR, or the memory that stands
//! for one. It is accessed by volatile 32-bit words only.

mod bytes;
mod guarded;
mod host_memory;

use guarded::Guard;
pub use host_memory::HostMemory;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

/// A mapping of a device's BAR, or of the memory of an emulated one, shared with the device and with the guest.
///
/// While the decode of a host device is off, the kernel answers an access with SIGBUS. The VMM therefore keeps decode on for
/// as long as it holds the device, whatever the guest writes into its (trapped) COMMAND register. Should it be off all the
/// same, an access by this object is an error if the mapping is [`of_device`](Self::of_device).
#[derive(Debug)]
pub struct RegionMap {
    address: NonNull<u8>,
    len: usize,
    /// Where the memory may go away.
    guard: Option<Guard>,
}

// SAFETY: the mapping belongs to no thread, and all accesses through it are volatile.
unsafe impl Send for RegionMap {}
// SAFETY: as above; concurrent volatile accesses to device memory are what device memory is for.
unsafe impl Sync for RegionMap {}

impl RegionMap {
    /// Maps `len` bytes of `file` from byte `offset` on, for reading and writing (`mmap` with `MAP_SHARED`).
    ///
    /// # Errors
    /// The errno of `mmap`. Nothing is then mapped.
    pub fn new(file: &File, offset: u64, len: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, len, guard: None })
    }

    /// The same for memory that may not answer: an access by this object is then the error `EFAULT`, where it would end the
    /// process by SIGBUS. For that the process's action for SIGBUS is replaced, once; every other SIGBUS goes to the action
    /// that was there before.
    ///
    /// # Errors
    /// The errno of `mmap` or `sigaction`.
    pub fn of_device(file: &File, offset: u64, len: usize) -> io::Result<Self> {
        let guard = Guard::new()?;
        let mut map = Self::new(file, offset, len)?;
        map.guard = Some(guard);
        Ok(map)
    }

    /// The address of the mapping in this process, aligned to a page.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// The length of the mapping in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Always `false`: the kernel refuses an empty mapping.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The word at byte `offset`, or `None` if `offset` is not a multiple of 4 or the word is not inside the mapping.
    fn word(&self, offset: u64) -> Option<NonNull<u32>> {
        let offset = usize::try_from(offset).ok()?;
        if offset % 4 != 0 || offset.checked_add(4)? > self.len {
            return None;
        }
        // SAFETY: `offset` lies inside the mapping, as was just checked.
        Some(unsafe { self.address.add(offset) }.cast())
    }

    /// Reads the 32-bit word at byte `offset` with one volatile access.
    ///
    /// # Errors
    /// `InvalidInput` if `offset` is not a multiple of 4, or if the word is not inside the mapping; `EFAULT` if the memory
    /// of a [device](Self::of_device) does not answer.
    pub fn read(&self, offset: u64) -> io::Result<u32> {
        let word = self.word(offset).ok_or(io::ErrorKind::InvalidInput)?;
        match self.guard {
            // SAFETY: `word` points, aligned, into the mapping, which lives as long as `self`.
            Some(guard) => unsafe { guard.read(word) },
            // SAFETY: the same.
            None => Ok(unsafe { word.read_volatile() }),
        }
    }

    /// Writes the 32-bit word at byte `offset` with one volatile access.
    ///
    /// # Errors
    /// `InvalidInput` if `offset` is not a multiple of 4, or if the word is not inside the mapping; `EFAULT` if the memory
    /// of a [device](Self::of_device) does not answer. Nothing is then written.
    pub fn write(&self, offset: u64, value: u32) -> io::Result<()> {
        let word = self.word(offset).ok_or(io::ErrorKind::InvalidInput)?;
        match self.guard {
            // SAFETY: as for `read`; nobody holds a reference into the mapping.
            Some(guard) => unsafe { guard.write(word, value) },
            None => {
                // SAFETY: the same.
                unsafe { word.write_volatile(value) };
                Ok(())
            }
        }
    }
}

impl Drop for RegionMap {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrowed from it outlives `self`.
        let result = unsafe { libc::munmap(self.address.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_bounds_are_kept() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let map = RegionMap::new(&file, 0, 4096).unwrap();
        map.write(4092, 0x1234_5678).unwrap();
        assert_eq!(map.read(4092).unwrap(), 0x1234_5678);
        for offset in [4093, 4096, 2, u64::MAX, u64::MAX - 3] {
            assert_eq!(map.read(offset).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{offset:#x}");
            assert_eq!(map.write(offset, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
