//! Memory of the request block. It is shared with the host, so that it is copied into and out of, and never borrowed.
#![expect(unsafe_code, reason = "the host writes this memory behind the compiler's back")]

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr::NonNull;
use pvir_abi::{BLOCK_ALIGN, GuestPhysAddr, MAX_RECORDS, RECORD_LEN};
use volatile::VolatilePtr;
use x86_64::PhysAddr;

/// A header or a record: 64 bytes, copied as a whole.
pub(crate) type Chunk = [u64; 8];

const _: () = assert!(size_of::<Chunk>() == RECORD_LEN);
const _: () = assert!(size_of::<pvir_abi::Header>() == RECORD_LEN);

/// Memory of a request block with room for `RECORDS` records, for a kernel to put into a `static`.
///
/// A call takes 512 records at most; a small guest does with fewer. A kernel whose image is not contiguous in
/// physical memory, or a confidential VM, takes pages of its own choice instead: [`BlockMemory::new`].
#[repr(C, align(4096))]
pub struct RequestBlock<const RECORDS: usize> {
    header: UnsafeCell<Chunk>,
    records: UnsafeCell<[Chunk; RECORDS]>,
}

const _: () = assert!(align_of::<RequestBlock<1>>() as u64 == BLOCK_ALIGN);
const _: () = assert!(offset_of!(RequestBlock<1>, records) == RECORD_LEN);

// SAFETY: no method reads or writes the cells; they are reached only through the pointer of the one `BlockMemory` that
// `memory` makes, whose maker promised that there is one.
unsafe impl<const RECORDS: usize> Sync for RequestBlock<RECORDS> {}

impl<const RECORDS: usize> RequestBlock<RECORDS> {
    /// A block of zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self { header: UnsafeCell::new([0; 8]), records: UnsafeCell::new([[0; 8]; RECORDS]) }
    }

    /// The block's memory, for [`Pvir::negotiate`](crate::Pvir::negotiate). `None` without room for a record, or if
    /// `address` is not aligned to 4096.
    ///
    /// # Safety
    ///
    /// The clauses of [`BlockMemory::new`] about validity and length hold for a static. The caller promises the
    /// others: the whole block lies at the contiguous guest physical `address`, and this is called once.
    #[must_use]
    pub unsafe fn memory(&'static self, address: PhysAddr) -> Option<BlockMemory> {
        // Not the size of `Self`, which is rounded up to whole pages: what lies behind the cells may not be written.
        let len = RECORDS.checked_add(1)?.checked_mul(RECORD_LEN)?;
        // SAFETY: a static is valid for ever, and its cells may be written. The caller promises the rest.
        unsafe { BlockMemory::new(NonNull::from(self).cast(), len, address) }
    }
}

impl<const RECORDS: usize> Default for RequestBlock<RECORDS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory for a request block, and the guest physical address by which the host finds it.
#[derive(Debug)]
pub struct BlockMemory {
    header: NonNull<Chunk>,
    records: usize,
    address: GuestPhysAddr,
}

// SAFETY: the memory belongs to no thread, and is used through `&mut` or under a lock only.
unsafe impl Send for BlockMemory {}

impl BlockMemory {
    /// Memory of `len` bytes at `pointer`, which the host finds at `address`. `None` if either is not aligned to 4096
    /// or there is no room for one record.
    ///
    /// # Safety
    ///
    /// `pointer` must be valid for volatile reads and writes of `len` bytes from now on, and used for nothing else as
    /// long as this `BlockMemory` lives. The same bytes must lie at the guest physical addresses `address` to
    /// `address + len`, in RAM, cached as usual; in a confidential VM in memory that is shared with the host.
    #[must_use]
    pub unsafe fn new(pointer: NonNull<u8>, len: usize, address: PhysAddr) -> Option<Self> {
        let off = |value: u64| value & (BLOCK_ALIGN - 1) != 0;
        if off(pointer.addr().get() as u64) || off(address.as_u64()) {
            return None;
        }
        let chunks = len / RECORD_LEN;
        let records = chunks.checked_sub(1)?.min(MAX_RECORDS as usize);
        (records > 0).then_some(Self {
            header: pointer.cast(),
            records,
            address: GuestPhysAddr(address.as_u64()),
        })
    }

    /// Number of records for which there is room, 1 to 512.
    #[must_use]
    pub const fn records(&self) -> usize {
        self.records
    }

    /// The guest physical address of the block.
    #[must_use]
    pub const fn address(&self) -> GuestPhysAddr {
        self.address
    }

    pub(crate) fn write_header(&mut self, chunk: Chunk) {
        self.header().write(chunk);
    }

    pub(crate) fn read_header(&self) -> Chunk {
        self.header().read()
    }

    /// Writes record `index`; nothing, if there is no room for it.
    pub(crate) fn write_record(&mut self, index: usize, chunk: Chunk) {
        if let Some(record) = self.record(index) {
            record.write(chunk);
        }
    }

    /// Reads record `index`, once; zeros, which no check accepts for a record, if there is no room for it.
    pub(crate) fn read_record(&self, index: usize) -> Chunk {
        self.record(index).map_or([0; 8], VolatilePtr::read)
    }

    fn header(&self) -> VolatilePtr<'_, Chunk> {
        // SAFETY: whoever made this promised that the pointer is valid for volatile access to the whole block.
        unsafe { VolatilePtr::new(self.header) }
    }

    fn record(&self, index: usize) -> Option<VolatilePtr<'_, Chunk>> {
        if index >= self.records {
            return None;
        }
        let offset = index.checked_add(1)?;
        // SAFETY: `index` is below `records`, and one header and `records` records fit into the memory.
        let record = unsafe { self.header.add(offset) };
        // SAFETY: as for the header; `record` lies in the same memory and is aligned as it is.
        Some(unsafe { VolatilePtr::new(record) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BLOCK: RequestBlock<3> = RequestBlock::new();
    static NO_RECORDS: RequestBlock<0> = RequestBlock::new();

    #[test]
    fn a_small_block_holds_what_was_written() {
        // SAFETY: called once; no host looks at the address.
        let mut memory = unsafe { BLOCK.memory(PhysAddr::new(0x1000)) }.unwrap();
        memory.write_header([1; 8]);
        memory.write_record(2, [3; 8]);
        assert_eq!((memory.read_header(), memory.read_record(2)), ([1; 8], [3; 8]));
    }

    #[test]
    fn a_block_that_is_unaligned_or_too_small_is_refused() {
        // SAFETY: called once.
        assert!(unsafe { NO_RECORDS.memory(PhysAddr::new(0x1000)) }.is_none());
        // SAFETY: refused, so nothing is used.
        assert!(unsafe { NO_RECORDS.memory(PhysAddr::new(0x1001)) }.is_none());
    }
}
