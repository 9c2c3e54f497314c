//! Guest RAM as the service accesses it: the guest may change any byte at any moment, so bytes are only ever copied.

use pvir_abi::GuestPhysAddr;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// An access to guest physical memory that is not RAM from its first byte to its last: address, and length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?}: {1} bytes there are not guest RAM")]
pub struct NotRam(pub GuestPhysAddr, pub usize);

/// Guest RAM, by guest physical address. It is implemented for all [`vm_memory`] backends; a VMM with memory types of
/// its own implements it for these.
///
/// An access must lie in *one* range of RAM. MMIO, holes, and addresses that wrap are refused.
pub trait GuestRam: Send + Sync {
    /// Copies `bytes.len()` bytes from guest physical address `at` into `bytes`.
    ///
    /// # Errors
    /// [`NotRam`] if they do not lie in one range of RAM. `bytes` may then be partly written.
    fn read(&self, at: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), NotRam>;

    /// Copies `bytes` to guest physical address `at`.
    ///
    /// # Errors
    /// [`NotRam`] if they do not lie in one range of RAM. No byte is then written.
    fn write(&self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), NotRam>;

    /// Whether `len` bytes from guest physical address `at` on lie in one range of RAM.
    fn is_ram(&self, at: GuestPhysAddr, len: usize) -> bool;
}

impl<M: GuestMemoryBackend + Send + Sync> GuestRam for M {
    fn read(&self, at: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), NotRam> {
        let refused = NotRam(at, bytes.len());
        if !self.is_ram(at, bytes.len()) {
            return Err(refused);
        }
        self.read_slice(bytes, GuestAddress(at.0)).map_err(|_| refused)
    }

    fn write(&self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), NotRam> {
        let refused = NotRam(at, bytes.len());
        if !self.is_ram(at, bytes.len()) {
            return Err(refused);
        }
        self.write_slice(bytes, GuestAddress(at.0)).map_err(|_| refused)
    }

    fn is_ram(&self, at: GuestPhysAddr, len: usize) -> bool {
        let Some(last) = (len as u64).checked_sub(1).and_then(|more| at.0.checked_add(more)) else {
            return false;
        };
        self.find_region(GuestAddress(at.0)).is_some_and(|region| last <= region.last_addr().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestMemoryMmap;

    fn ram() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000), (GuestAddress(0x8000), 0x1000)]).unwrap()
    }

    #[test]
    fn ram_is_one_whole_range() {
        let ram = ram();
        assert!(ram.is_ram(GuestPhysAddr(0x3fff), 1));
        assert!(ram.is_ram(GuestPhysAddr(0), 0x4000));
        assert!(!ram.is_ram(GuestPhysAddr(0x3fff), 2));
        assert!(!ram.is_ram(GuestPhysAddr(0x7fff), 2));
        assert!(!ram.is_ram(GuestPhysAddr(u64::MAX), 2));
        assert!(!ram.is_ram(GuestPhysAddr(0), 0));
    }

    #[test]
    fn refused_write_leaves_ram_alone() {
        let ram = ram();
        let ram: &dyn GuestRam = &ram;
        assert_eq!(ram.write(GuestPhysAddr(0x3ffe), &[1, 2, 3]), Err(NotRam(GuestPhysAddr(0x3ffe), 3)));
        let mut bytes = [9; 2];
        ram.read(GuestPhysAddr(0x3ffe), &mut bytes).unwrap();
        assert_eq!(bytes, [0, 0]);
    }
}
