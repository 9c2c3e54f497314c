//! Guest RAM as the service accesses it: the guest may change any byte at any moment, so bytes are only ever copied.

use pvir_abi::GuestPhysAddr;
use std::fmt;
use std::ops::Deref;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// An access to guest physical memory that is not RAM from its first byte to its last: address, and length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?}: {1} bytes there are not guest RAM")]
pub struct NotRam(pub GuestPhysAddr, pub usize);

/// Guest RAM, by guest physical address. It is implemented for all [`vm_memory`] backends, and by [`CurrentRam`] for a
/// memory whose regions come and go; a VMM with memory types of its own implements it for these.
///
/// An access must lie in *one* range of RAM. MMIO, holes, and addresses that wrap are refused. RAM may be added and
/// removed at any time, also between the accesses of one call. An implementation keeps what it accesses until the access
/// is done. A call whose block is removed under it is answered with `BAD_ADDRESS`; what it did before stands.
pub trait GuestRam: Send + Sync {
    /// Copies `bytes.len()` bytes from guest physical address `at` into `bytes`.
    ///
    /// # Errors
    /// [`NotRam`] if they do not lie in one range of RAM. `bytes` may then be partly written.
    fn read(&self, at: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), NotRam>;

    /// Copies `bytes` to guest physical address `at`. Eight bytes at a multiple of 8 are one store, so that a vCPU that
    /// reads them sees all of them or none: the epoch of the event area is written so.
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

/// A guest memory whose regions come and go while the VM runs.
///
/// It is made of a function that answers with the memory as it is now: an `Arc` of it, vm-memory's
/// `GuestMemoryLoadGuard` (`move || atomic.memory()` for a `GuestMemoryAtomic`), or the guard of a lock. Each access
/// asks once, and holds the answer until it is done, so a region that the VMM removes meanwhile is unmapped afterwards.
///
/// ```
/// use pvir_host::memory::CurrentRam;
/// use std::sync::{Arc, PoisonError, RwLock};
/// use vm_memory::{GuestAddress, GuestMemoryMmap};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let boot = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 64 << 20)])?;
/// // The VMM puts another memory there when it adds or removes a region.
/// let memory = Arc::new(RwLock::new(Arc::new(boot)));
/// let seen = Arc::clone(&memory);
/// let ram = CurrentRam::new(move || Arc::clone(&seen.read().unwrap_or_else(PoisonError::into_inner)));
/// # let _: Arc<dyn pvir_host::memory::GuestRam> = Arc::new(ram);
/// # Ok(())
/// # }
/// ```
pub struct CurrentRam<F>(F);

impl<F, M> CurrentRam<F>
where
    F: Fn() -> M + Send + Sync,
    M: Deref<Target: GuestMemoryBackend + Send + Sync + Sized>,
{
    /// The memory that `current` answers with, at each access anew.
    pub fn new(current: F) -> Self {
        Self(current)
    }
}

impl<F> fmt::Debug for CurrentRam<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentRam").finish_non_exhaustive()
    }
}

impl<F, M> GuestRam for CurrentRam<F>
where
    F: Fn() -> M + Send + Sync,
    M: Deref<Target: GuestMemoryBackend + Send + Sync + Sized>,
{
    fn read(&self, at: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), NotRam> {
        GuestRam::read(&*(self.0)(), at, bytes)
    }

    fn write(&self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), NotRam> {
        GuestRam::write(&*(self.0)(), at, bytes)
    }

    fn is_ram(&self, at: GuestPhysAddr, len: usize) -> bool {
        (self.0)().is_ram(at, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use vm_memory::{GuestMemoryMmap, GuestRegionMmap};

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

    #[test]
    fn regions_come_and_go() {
        let memory = Arc::new(Mutex::new(Arc::new(ram())));
        let seen = Arc::clone(&memory);
        let current = CurrentRam::new(move || Arc::clone(&seen.lock().unwrap()));
        let current: &dyn GuestRam = &current;
        let at = GuestPhysAddr(0x1_0000);
        assert_eq!(current.write(at, &[1]), Err(NotRam(at, 1)));
        let more = GuestRegionMmap::from_range(GuestAddress(at.0), 0x1000, None).unwrap();
        let larger = memory.lock().unwrap().insert_region(Arc::new(more)).unwrap();
        *memory.lock().unwrap() = Arc::new(larger);
        current.write(at, &[1]).unwrap();
        let (smaller, removed) = memory.lock().unwrap().remove_region(GuestAddress(at.0), 0x1000).unwrap();
        *memory.lock().unwrap() = Arc::new(smaller);
        assert_eq!(current.read(at, &mut [0]), Err(NotRam(at, 1)));
        assert!(!current.is_ram(at, 1) && current.is_ram(GuestPhysAddr(0), 1));
        assert_eq!(Arc::strong_count(&removed), 1, "nothing holds it between accesses");
    }
}
