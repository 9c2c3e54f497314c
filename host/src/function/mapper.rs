//! The VMM's side of a BAR: where it decodes, and which parts of it are the guest's.

use crate::mapping::HostMemory;
use crate::pci::BarKind;
use pvir_abi::DeviceId;
use std::io;
use std::sync::Arc;

const PAGE: u64 = 4096;

/// The range of guest addresses that a BAR decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BarRange {
    /// The function, by segment and BDF as the guest sees them.
    pub function: DeviceId,
    /// Number of the BAR, 0 to 5.
    pub bar: u8,
    /// Whether the addresses are those of ports or of memory.
    pub kind: BarKind,
    /// The first address: guest physical, or a port.
    pub address: u64,
    /// The number of bytes or ports. `address + size` does not overflow.
    pub size: u64,
}

impl BarRange {
    /// `size` bytes or ports from `address` on, as BAR `bar` of a function: for the tests of a VMM.
    #[must_use]
    pub fn new(function: DeviceId, bar: u8, kind: BarKind, address: u64, size: u64) -> Self {
        Self { function, bar, kind, address, size }
    }

    /// The address behind the last one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }

    /// The offset in the BAR of an access of `len` bytes at `address`; `None` unless all of it is inside.
    #[must_use]
    pub fn offset_of(&self, address: u64, len: usize) -> Option<u64> {
        let offset = address.checked_sub(self.address)?;
        let end = offset.checked_add(u64::try_from(len).ok()?)?;
        (end <= self.size).then_some(offset)
    }
}

/// What a guest may do with mapped memory without an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GuestAccess {
    /// Read and write.
    ReadWrite,
    /// Read; a write exits (`KVM_MEM_READONLY`).
    ReadOnly,
}

/// A part of a BAR that the guest reaches without exits: whole pages of host memory.
#[derive(Clone, Debug)]
pub struct MappedPart {
    offset: u64,
    size: u64,
    memory: Arc<dyn HostMemory>,
    memory_offset: u64,
    access: GuestAccess,
}

impl MappedPart {
    /// `size` bytes of `memory` from byte `memory_offset` on, as the part of a BAR from byte `offset` on; `None` unless
    /// all of these are whole pages of 4 KiB, there is one at least, and they are inside of the memory.
    #[must_use]
    pub fn new(
        offset: u64,
        size: u64,
        memory: Arc<dyn HostMemory>,
        memory_offset: u64,
        access: GuestAccess,
    ) -> Option<Self> {
        let aligned = [offset, size, memory_offset, memory.address()].iter().all(|value| value % PAGE == 0);
        let inside = memory_offset.checked_add(size).is_some_and(|end| end <= memory.size());
        let ends = offset.checked_add(size).is_some();
        (aligned && inside && ends && size > 0).then_some(Self {
            offset,
            size,
            memory,
            memory_offset,
            access,
        })
    }

    /// Offset of the part in its BAR, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Size of the part in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The memory. Whoever maps the part keeps a clone until it is unmapped.
    #[must_use]
    pub fn memory(&self) -> &Arc<dyn HostMemory> {
        &self.memory
    }

    /// Offset of the part in the memory, in bytes.
    #[must_use]
    pub fn memory_offset(&self) -> u64 {
        self.memory_offset
    }

    /// The address of the part in this process, for `userspace_addr` of `KVM_SET_USER_MEMORY_REGION`.
    #[must_use]
    pub fn host_address(&self) -> u64 {
        self.memory.address() + self.memory_offset
    }

    /// What the guest may do without an exit.
    #[must_use]
    pub fn access(&self) -> GuestAccess {
        self.access
    }
}

impl PartialEq for MappedPart {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
            && (self.offset, self.size, self.memory_offset, self.access)
                == (other.offset, other.size, other.memory_offset, other.access)
    }
}

/// The guest's address spaces, as the VMM has them. A function calls it when the guest moves a BAR, when it switches
/// decode on or off, and at ENABLE and DISABLE; for one function one call at a time, for several at the same time.
///
/// What implements it must not own functions or the [`Service`](crate::service::Service), which own it, and must not call
/// them: they hold locks meanwhile. For the same reason it must not take a lock that the VMM holds while it calls a
/// function or the service.
pub trait BarMapper: Send + Sync {
    /// A BAR begins to decode these addresses: the VMM routes exits there to
    /// [`PciFunction::bar_read`](super::PciFunction::bar_read) and
    /// [`bar_write`](super::PciFunction::bar_write). A VMM that looks them up in its functions
    /// ([`PciFunction::find_memory`](super::PciFunction::find_memory)) needs not do anything here but refuse what
    /// overlaps RAM, another BAR or another device, or what lies beyond the guest's physical address bits.
    ///
    /// # Errors
    /// Why the BAR cannot be there. It then does not decode until the guest writes BARs or COMMAND again.
    fn decode(&self, range: &BarRange) -> io::Result<()> {
        let _ = range;
        Ok(())
    }

    /// A BAR does not decode these addresses any more. Its mapped parts have been unmapped before.
    fn stop_decoding(&self, range: &BarRange) {
        let _ = range;
    }

    /// Maps `part` at the guest physical address `address`, which is inside of a range that decodes. The VMM keeps a clone
    /// of the part for as long as it is mapped.
    ///
    /// # Errors
    /// The errno of the mapping. The part is then not mapped: the guest's accesses exit, and are served all the same.
    fn map(&self, address: u64, part: &MappedPart) -> io::Result<()>;

    /// Unmaps what [`map`](Self::map) has mapped at this address: accesses exit from now on.
    ///
    /// # Errors
    /// The errno of the unmapping. The part then counts as mapped, its BAR goes on decoding, and it is tried again when the
    /// guest writes BARs or COMMAND the next time.
    fn unmap(&self, address: u64, part: &MappedPart) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::MmapRegion;

    #[test]
    fn parts_are_whole_pages_inside_their_memory() {
        let memory: Arc<dyn HostMemory> = Arc::new(MmapRegion::<()>::new(0x3000).unwrap());
        let part = |offset, size, at| {
            MappedPart::new(offset, size, Arc::clone(&memory), at, GuestAccess::ReadWrite).is_some()
        };
        assert!(part(0x8000, 0x2000, 0x1000));
        assert!(!part(0x8000, 0x2000, 0x2000), "behind the end");
        assert!(!part(0x8000, 0, 0));
        assert!(!part(0x8100, 0x1000, 0));
        assert!(!part(0, 0x1800, 0));
        assert!(!part(0, 0x1000, 0x800));
        assert!(!part(u64::MAX - 0xfff, 0x1000, 0), "no end");
        assert!(!part(0, 0x1000, u64::MAX - 0xfff));
    }

    #[test]
    fn an_access_is_inside_or_not() {
        let range = BarRange::new(DeviceId::default(), 0, BarKind::Memory64, 0x1000, 0x1000);
        assert_eq!(range.offset_of(0x1ffc, 4), Some(0xffc));
        assert_eq!((range.offset_of(0x1ffd, 4), range.offset_of(0xfff, 1)), (None, None));
    }
}
