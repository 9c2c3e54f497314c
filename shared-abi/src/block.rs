//! The request block: a header of 64 bytes, then records of 64 bytes each, in guest RAM.

use crate::{Operation, Status, Version};
use bitflags::bitflags;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The block starts at a multiple of this.
pub const BLOCK_ALIGN: u64 = 4096;
/// Length of every record, in bytes.
pub const RECORD_LEN: usize = 64;
/// Most records in one call, whatever the host says.
pub const MAX_RECORDS: u32 = 512;
/// First word of the header: `"PVRQ"`.
pub const REQUEST_MAGIC: u32 = u32::from_le_bytes(*b"PVRQ");
/// Length of the longest block.
pub const MAX_BLOCK_LEN: usize = block_len(MAX_RECORDS);

/// Length in bytes of a block with `records` records.
#[must_use]
pub const fn block_len(records: u32) -> usize {
    size_of::<Header>() + records as usize * RECORD_LEN
}

bitflags! {
    /// Flags of a call.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct CallFlags: u32 {
        /// MAP, RETARGET, UNMAP: if one record fails, nothing is done.
        const ALL_OR_NOTHING = 1 << 0;
    }
}

/// The header of a request block (`docs/abi.md`, "The request block").
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// In: [`REQUEST_MAGIC`].
    pub magic: u32,
    /// In: version that the guest speaks.
    pub version: Version,
    /// In: what to do.
    pub operation: Operation,
    /// In: [`CallFlags`].
    pub flags: u32,
    /// In: number of records.
    pub count: u32,
    /// Out: status of the call.
    pub status: Status,
    /// Out: number of records with status OK.
    pub done: u32,
    /// Out: the VM's current epoch, 0 while not enabled.
    pub epoch: u64,
    /// In: zero.
    pub reserved: [u64; 4],
}

const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(offset_of!(Header, version) == 4);
const _: () = assert!(offset_of!(Header, operation) == 6);
const _: () = assert!(offset_of!(Header, flags) == 8);
const _: () = assert!(offset_of!(Header, count) == 12);
const _: () = assert!(offset_of!(Header, status) == 16);
const _: () = assert!(offset_of!(Header, done) == 20);
const _: () = assert!(offset_of!(Header, epoch) == 24);
const _: () = assert!(offset_of!(Header, reserved) == 32);

impl Header {
    /// A header as the guest fills it before a call.
    #[must_use]
    pub const fn request(version: Version, operation: Operation, flags: CallFlags, count: u32) -> Self {
        Self {
            magic: REQUEST_MAGIC,
            version,
            operation,
            flags: flags.bits(),
            count,
            status: Status::PENDING,
            done: 0,
            epoch: 0,
            reserved: [0; 4],
        }
    }
}
