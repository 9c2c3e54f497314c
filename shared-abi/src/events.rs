//! The event area: 64 bytes of guest RAM in which the host announces events, and which the guest reads without an
//! exit.

use crate::DeviceId;
use crate::open_enum::open_enum;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Alignment of the event area's guest physical address, in bytes (statement E3).
pub const EVENT_AREA_ALIGN: u64 = 64;

open_enum! {
    /// What the latest event was (`docs/abi.md`, "Epoch and events").
    EventReason(u32) {
        /// There was no event since ENABLE.
        NONE = 0,
        /// The pairs of the device are stale, after a restore or a reset: MAP its entries again.
        STALE_PAIRS = 1,
        /// The device was unplugged.
        DEVICE_GONE = 2,
        /// The host cut the device off for an interrupt storm.
        DEVICE_CUT_OFF = 3,
    }
}

/// The event area in guest RAM (`docs/abi.md`, "Epoch and events"). Only the host writes it, from ENABLE to DISABLE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventArea {
    /// The VM's epoch. The host writes it last, so that whoever sees it change sees the other fields as well.
    pub epoch: u64,
    /// Number of events since ENABLE. If it rose by more than one since the last look, events were overwritten
    /// (statement V3).
    pub sequence: u64,
    /// What the latest event was.
    pub reason: EventReason,
    /// The device that the latest event is about; all ones for every device of the VM.
    pub device: DeviceId,
    /// Reserved, zero.
    pub reserved: [u64; 5],
}

const _: () = assert!(size_of::<EventArea>() == 64);
const _: () = assert!(offset_of!(EventArea, epoch) == 0);
const _: () = assert!(offset_of!(EventArea, sequence) == 8);
const _: () = assert!(offset_of!(EventArea, reason) == 16);
const _: () = assert!(offset_of!(EventArea, device) == 20);
const _: () = assert!(offset_of!(EventArea, reserved) == 24);
