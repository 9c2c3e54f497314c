//! The request block: a header of 64 bytes and up to 512 records of 64 bytes each, contiguous in guest RAM.

use crate::{Operation, Status, Version};
use bitflags::bitflags;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Alignment of a request block's guest physical address, in bytes (statement B1).
pub const BLOCK_ALIGN: u64 = 4096;
/// Length of the header and of every record, in bytes.
pub const RECORD_LEN: usize = 64;
/// Maximum number of records in one call. A host may take fewer:
/// [`Discovery::max_records`](crate::Discovery::max_records).
pub const MAX_RECORDS: u32 = 512;
/// First four bytes of every request block: `"PVRQ"`, little-endian.
pub const REQUEST_MAGIC: u32 = u32::from_le_bytes(*b"PVRQ");
/// Length of the longest request block, in bytes.
pub const MAX_BLOCK_LEN: usize = block_len(MAX_RECORDS);

/// Length of a request block with `records` records, in bytes, its header included.
#[must_use]
pub const fn block_len(records: u32) -> usize {
    size_of::<Header>() + records as usize * RECORD_LEN
}

bitflags! {
    /// Flags of a call, in [`Header::flags`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct CallFlags: u32 {
        /// For MAP, RETARGET and UNMAP: if one record fails, no record is carried out (statement O3).
        const ALL_OR_NOTHING = 1 << 0;
    }
}

/// The header of a request block (`docs/abi.md`, "The request block").
///
/// *In* fields are written by the guest before the call, *out* fields by the host during it. The guest fills the
/// *out* fields as [`Header::request`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// In: always [`REQUEST_MAGIC`].
    pub magic: u32,
    /// In: the version of the contract that the guest speaks.
    pub version: Version,
    /// In: what is asked for, and so which records follow.
    pub operation: Operation,
    /// In: the bits of [`CallFlags`].
    pub flags: u32,
    /// In: number of records that follow, 0 to [`MAX_RECORDS`].
    pub count: u32,
    /// Out: the status of the whole call.
    pub status: Status,
    /// Out: number of records whose status is OK.
    pub done: u32,
    /// Out: the VM's current epoch, 0 while pvir is not enabled.
    pub epoch: u64,
    /// In: reserved, all zero.
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
    /// The header of a call with `count` records, as a guest fills it: the status is [`Status::PENDING`], the other
    /// *out* fields are zero.
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
