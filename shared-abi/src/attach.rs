//! The record of ATTACH and DETACH: one device.

use crate::{DeviceId, Refusal, Status};
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The record of ATTACH and DETACH (`docs/abi.md`, "ATTACH and DETACH"). The guest writes the *in* fields, the host the
/// *out* fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttachRecord {
    /// In: the device that is taken or given back.
    pub device: DeviceId,
    /// Out: the status of this record.
    pub status: Status,
    /// Out: with the status REFUSED the reason, otherwise [`Refusal::NONE`].
    pub refusal: Refusal,
    /// In: reserved, zero.
    pub reserved0: u32,
    /// In: reserved, zero.
    pub reserved1: [u64; 6],
}

const _: () = assert!(size_of::<AttachRecord>() == 64);
const _: () = assert!(offset_of!(AttachRecord, device) == 0);
const _: () = assert!(offset_of!(AttachRecord, status) == 4);
const _: () = assert!(offset_of!(AttachRecord, refusal) == 8);
const _: () = assert!(offset_of!(AttachRecord, reserved0) == 12);
const _: () = assert!(offset_of!(AttachRecord, reserved1) == 16);

impl AttachRecord {
    /// A request to take `device`, or to give it back.
    #[must_use]
    pub const fn request(device: DeviceId) -> Self {
        Self { device, status: Status::PENDING, refusal: Refusal::NONE, reserved0: 0, reserved1: [0; 6] }
    }
}
