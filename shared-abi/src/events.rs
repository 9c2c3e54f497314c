//! The event area: what the host tells a guest that did not ask.

use crate::DeviceId;
use crate::open_enum::open_enum;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The event area starts at a multiple of this.
pub const EVENT_AREA_ALIGN: u64 = 64;

open_enum! {
    /// What happened (`docs/abi.md`, "Epoch and events").
    EventReason(u32) {
        /// Nothing since ENABLE.
        NONE = 0,
        /// Pairs of the device, or with an all-ones device of the VM, are stale: MAP again.
        STALE_PAIRS = 1,
        /// The device was unplugged.
        DEVICE_GONE = 2,
        /// The host cut the device off for an interrupt storm.
        DEVICE_CUT_OFF = 3,
    }
}

/// The event area in guest RAM. Only the host writes it, and only while the VM is enabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventArea {
    /// The epoch; written last, so that whoever sees it change sees the rest as well.
    pub epoch: u64,
    /// Number of events since ENABLE; more than one step means that events were overwritten.
    pub sequence: u64,
    /// Reason of the latest event.
    pub reason: EventReason,
    /// Device of the latest event; all ones for every device.
    pub device: DeviceId,
    /// Zero.
    pub reserved: [u64; 5],
}

const _: () = assert!(size_of::<EventArea>() == 64);
const _: () = assert!(offset_of!(EventArea, epoch) == 0);
const _: () = assert!(offset_of!(EventArea, sequence) == 8);
const _: () = assert!(offset_of!(EventArea, reason) == 16);
const _: () = assert!(offset_of!(EventArea, device) == 20);
const _: () = assert!(offset_of!(EventArea, reserved) == 24);
