//! The MSI-X table and the pending bit array of an emulated device, in memory that it shares with the guest.
//!
//! The guest writes the table at any moment, so every word is read by one volatile access, and nothing that was read is
//! taken for granted. PCI Express Base Specification 6.0, section 7.7.2 "MSI-X Capability and Table Structure".

use crate::mapping::RegionMap;
use pvir_abi::Pair;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// Bytes of a table entry.
const ENTRY: u64 = 16;
const PAGE: u64 = 4096;
/// Bit of an entry's vector control: no message is sent.
const MASK: u32 = 1;

/// The MSI-X table and the pending bit array of one device, in shared memory.
#[derive(Debug)]
pub struct SharedTable {
    memory: Arc<RegionMap>,
    vectors: u32,
}

/// The contents of one table entry: the message and the mask bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableEntry {
    /// Address and data, as the guest has written them.
    pub message: Pair,
    /// Whether the entry's mask bit is set: no message is to be sent.
    pub masked: bool,
}

impl SharedTable {
    /// A table of `vectors` entries (1 to 2048), all masked.
    ///
    /// # Errors
    /// The errno of `memfd_create`, `ftruncate` or `mmap`.
    pub fn new(vectors: u32) -> io::Result<Self> {
        let len = Self::pba_offset(vectors) + PAGE;
        let file = shared_memory(len)?;
        let memory = RegionMap::new(&file, 0, usize::try_from(len).map_err(io::Error::other)?)?;
        let table = Self { memory: Arc::new(memory), vectors };
        table.mask_all()?;
        Ok(table)
    }

    /// Offset of the pending bit array in the memory, in bytes. It begins on a page of its own behind the table, so
    /// that the guest can have the table for writing and the array for reading only.
    #[must_use]
    pub fn pba_offset(vectors: u32) -> u64 {
        (u64::from(vectors) * ENTRY).next_multiple_of(PAGE)
    }

    /// The memory, to be mapped into the guest. The table is at byte 0, the pending bits are at
    /// [`SharedTable::pba_offset`].
    #[must_use]
    pub fn memory(&self) -> &Arc<RegionMap> {
        &self.memory
    }

    /// Number of entries.
    #[must_use]
    pub fn vectors(&self) -> u32 {
        self.vectors
    }

    fn at(&self, index: u32, word: u64) -> io::Result<u64> {
        if index >= self.vectors {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(u64::from(index) * ENTRY + word * 4)
    }

    /// Reads an entry as hardware does when it is about to send: the mask bit first.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such entry.
    pub fn entry(&self, index: u32) -> io::Result<TableEntry> {
        let masked = self.is_masked(index)?;
        let low = self.memory.read(self.at(index, 0)?)?;
        let high = self.memory.read(self.at(index, 1)?)?;
        let data = self.memory.read(self.at(index, 2)?)?;
        Ok(TableEntry { message: Pair { address: u64::from(high) << 32 | u64::from(low), data }, masked })
    }

    /// Whether an entry is masked.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such entry.
    pub fn is_masked(&self, index: u32) -> io::Result<bool> {
        // Pairs with the guest's write: what it wrote before it unmasked is seen after this.
        let control = self.memory.read(self.at(index, 3)?)?;
        fence(Ordering::SeqCst);
        Ok(control & MASK != 0)
    }

    /// Masks an entry.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such entry.
    pub fn mask(&self, index: u32) -> io::Result<()> {
        let at = self.at(index, 3)?;
        let control = self.memory.read(at)?;
        self.memory.write(at, control | MASK)?;
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Masks every entry.
    ///
    /// # Errors
    /// The first error of [`SharedTable::mask`]. There is none in practice, because all these entries exist.
    pub fn mask_all(&self) -> io::Result<()> {
        (0..self.vectors).try_for_each(|index| self.mask(index))
    }

    /// The table after a reset of the device: every entry is masked, with address and data zero, and none is pending.
    ///
    /// # Errors
    /// The first error of an access. There is none in practice, because all these entries exist.
    pub fn reset(&self) -> io::Result<()> {
        for index in 0..self.vectors {
            self.memory.write(self.at(index, 3)?, MASK)?;
            (0..3).try_for_each(|word| self.memory.write(self.at(index, word)?, 0))?;
            self.set_pending(index, false)?;
        }
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Sets or clears the pending bit of entry `index`. The array must have one writer at a time: a device calls this
    /// under a lock of its own.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such entry.
    pub fn set_pending(&self, index: u32, pending: bool) -> io::Result<()> {
        self.at(index, 0)?;
        let at = Self::pba_offset(self.vectors) + u64::from(index / 32) * 4;
        let bit = 1 << (index % 32);
        let word = self.memory.read(at)?;
        self.memory.write(at, if pending { word | bit } else { word & !bit })
    }

    /// Whether the pending bit of an entry is set.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such entry.
    pub fn is_pending(&self, index: u32) -> io::Result<bool> {
        self.at(index, 0)?;
        let at = Self::pba_offset(self.vectors) + u64::from(index / 32) * 4;
        Ok(self.memory.read(at)? >> (index % 32) & 1 != 0)
    }
}

#[expect(unsafe_code, reason = "no library of the workspace makes a memfd")]
fn shared_memory(len: u64) -> io::Result<File> {
    use std::os::fd::FromRawFd;
    let name = CString::new("pvir-msix").map_err(io::Error::other)?;
    // SAFETY: `name` is a C string that lives through the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(len)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_table_is_masked_and_quiet() {
        let table = SharedTable::new(2048).unwrap();
        assert_eq!(SharedTable::pba_offset(2048), 0x8000);
        assert!((0..2048).all(|index| table.is_masked(index).unwrap()));
        assert_eq!(table.entry(2048).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn after_a_reset_the_table_is_as_a_new_one() {
        let table = SharedTable::new(3).unwrap();
        (0..12).for_each(|word| table.memory().write(word * 4, 0xfee0_0010).unwrap());
        table.set_pending(2, true).unwrap();
        table.reset().unwrap();
        let masked = TableEntry { message: Pair::default(), masked: true };
        assert!((0..3).all(|index| table.entry(index).unwrap() == masked));
        assert!(!table.is_pending(2).unwrap());
    }

    #[test]
    fn pending_bits_stand_behind_the_table() {
        let table = SharedTable::new(33).unwrap();
        table.set_pending(32, true).unwrap();
        table.set_pending(1, true).unwrap();
        table.set_pending(1, false).unwrap();
        assert_eq!(table.memory().read(0x1000).unwrap(), 0);
        assert_eq!(table.memory().read(0x1004).unwrap(), 1);
    }
}
