//! Request blocks written by hand: what `pvir-guest` would never send, for the suite and the tests that judge a host.

#![expect(unsafe_code, reason = "writes memory that the host reads, and calls the host")]

pub(crate) mod instructions;
pub(crate) mod ram;
pub(crate) mod ring3;

use crate::machine::memory::frames;
use core::fmt;
use core::ptr::NonNull;
use pvir_guest::Conduit;
use pvir_guest::abi::{
    CallFlags, GuestPhysAddr, Header, MAX_BLOCK_LEN, Operation, RECORD_LEN, Status, Version,
};
use pvir_guest::conduit::HardwareConduit;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// A block in RAM, a page to spare, and the way to the host.
#[derive(Debug)]
pub(crate) struct Raw {
    conduit: HardwareConduit,
    block: NonNull<u8>,
    spare: NonNull<u8>,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The status that the conduit returned.
    pub(crate) status: Status,
    /// The header as it stands in the block.
    pub(crate) header: Header,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, header } = self;
        write!(f, "{status:?}")?;
        if header.status == Status::PENDING {
            write!(f, ", the header is not answered")?;
        } else if header.status != *status {
            write!(f, ", and the header says {:?}", header.status)?;
        }
        write!(f, ", done {}", header.done)
    }
}

// SAFETY: the pages are nobody else's, and reached by volatile accesses alone.
unsafe impl Send for Raw {}

impl Raw {
    /// Length of the pages that the block has.
    pub(crate) const PAGES_LEN: usize = MAX_BLOCK_LEN.next_multiple_of(4096);

    pub(crate) fn new(conduit: HardwareConduit) -> Option<Self> {
        let pages = (MAX_BLOCK_LEN as u64).div_ceil(frames::PAGE);
        Some(Self { conduit, block: frames::allocate_zeroed(pages)?, spare: frames::allocate_zeroed(1)? })
    }

    /// The same block, reached another way.
    pub(crate) const fn by(&self, conduit: HardwareConduit) -> Self {
        Self { conduit, block: self.block, spare: self.spare }
    }

    pub(crate) const fn conduit(&self) -> HardwareConduit {
        self.conduit
    }

    /// Guest-physical address of the block.
    pub(crate) fn address(&self) -> GuestPhysAddr {
        GuestPhysAddr(self.block.as_ptr() as u64)
    }

    /// A page of RAM that nobody uses.
    pub(crate) fn spare(&self) -> GuestPhysAddr {
        GuestPhysAddr(self.spare.as_ptr() as u64)
    }

    /// The header of a good request.
    pub(crate) fn header(operation: Operation, count: u32) -> Header {
        Header::request(Version::V1, operation, CallFlags::empty(), count)
    }

    /// Calls with this header and these records.
    pub(crate) fn call<R: IntoBytes + Immutable>(&self, header: &Header, records: &[R]) -> Answer {
        self.write(header, records);
        let status = self.call_at(self.address());
        Answer { status, header: self.read(0) }
    }

    /// Puts header and records into the block.
    pub(crate) fn write<R: IntoBytes + Immutable>(&self, header: &Header, records: &[R]) {
        self.copy_in(0, header.as_bytes());
        self.copy_in(RECORD_LEN, records.as_bytes());
    }

    /// Calls with a block at any address.
    pub(crate) fn call_at(&self, address: GuestPhysAddr) -> Status {
        // SAFETY: whatever the address, the host writes at most what the kernel has set aside for blocks: the block,
        // the spare page, or nothing where there is no RAM.
        unsafe { self.conduit.call(address) }
    }

    /// Record `index` of the answer, or with 0 the header: the unit is as long.
    pub(crate) fn read<R: FromBytes + FromZeros + IntoBytes + Immutable>(&self, unit: usize) -> R {
        let mut value = R::new_zeroed();
        let bytes = value.as_mut_bytes();
        let start = unit * RECORD_LEN;
        if start + bytes.len() <= MAX_BLOCK_LEN {
            for (at, byte) in (start..).zip(bytes) {
                *byte = load(self.block, at);
            }
        }
        value
    }

    /// A byte of the block or behind it in its last page.
    pub(crate) fn byte(&self, at: usize) -> u8 {
        load(self.block, at.min(Self::PAGES_LEN - 1))
    }

    /// Writes such a byte.
    pub(crate) fn set_byte(&self, at: usize, byte: u8) {
        store(self.block, at.min(Self::PAGES_LEN - 1), byte);
    }

    /// `N` bytes of the spare page.
    pub(crate) fn spare_bytes<const N: usize>(&self, start: usize) -> [u8; N] {
        core::array::from_fn(|at| load(self.spare, (start + at).min(4095)))
    }

    /// Fills the spare page.
    pub(crate) fn fill_spare(&self, byte: u8) {
        (0..4096).for_each(|at| store(self.spare, at, byte));
    }

    fn copy_in(&self, start: usize, bytes: &[u8]) {
        for (at, byte) in (start..MAX_BLOCK_LEN).zip(bytes) {
            store(self.block, at, *byte);
        }
    }

    /// The header in a page of RAM that the allocator has not given out.
    pub(crate) fn planted(page: GuestPhysAddr) -> Option<Header> {
        let place = usize::try_from(page.0).ok().and_then(|address| NonNull::new(address as *mut u8))?;
        if !frames::is_free(page.0) {
            return None;
        }
        let mut header = Header::new_zeroed();
        for (at, byte) in header.as_mut_bytes().iter_mut().enumerate() {
            *byte = load(place, at);
        }
        Some(header)
    }

    /// Writes a header to a page of RAM that the allocator has not given out; whether it could.
    pub(crate) fn plant(page: GuestPhysAddr, header: &Header) -> bool {
        let Ok(address) = usize::try_from(page.0) else { return false };
        let Some(place) = NonNull::new(address as *mut u8) else { return false };
        if !frames::is_free(page.0) {
            return false;
        }
        for (at, byte) in header.as_bytes().iter().enumerate() {
            store(place, at, *byte);
        }
        true
    }
}

/// A byte of a page that is this file's: the block, the spare page, or one that nobody has.
fn load(base: NonNull<u8>, at: usize) -> u8 {
    // SAFETY: callers stay inside of the pages at `base`.
    let place = unsafe { base.add(at) };
    // SAFETY: RAM in the identity map; the host may write it, which volatile reads allow.
    unsafe { place.read_volatile() }
}

/// Writes such a byte.
fn store(base: NonNull<u8>, at: usize, byte: u8) {
    // SAFETY: as for `load`.
    let place = unsafe { base.add(at) };
    // SAFETY: as for `load`; no Rust object lives there.
    unsafe { place.write_volatile(byte) };
}
