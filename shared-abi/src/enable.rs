//! The record of ENABLE, and the reasons for which a host refuses it.

use crate::open_enum::open_enum;
use crate::{DeviceId, Features, GuestPhysAddr, Status};
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

open_enum! {
    /// The reason for which a host refused ENABLE (`docs/abi.md`, "ENABLE"). It means something with the status
    /// REFUSED only.
    Refusal(u32) {
        /// ENABLE was not refused.
        NONE = 0,
        /// Interrupt remapping is off on the host.
        NO_REMAPPING = 1,
        /// The host's interrupt remapping does not verify the source id of a message.
        NO_SOURCE_ID = 2,
        /// The host's kernel was told to assume isolation between functions that the hardware does not give.
        ACS_OVERRIDDEN = 3,
        /// VFIO or iommufd was told to allow devices without interrupt isolation.
        UNSAFE_INTERRUPTS = 4,
        /// The device is used without an IOMMU.
        NO_IOMMU = 5,
        /// The device shares its IOMMU group with something outside of this VM.
        SHARED_GROUP = 6,
        /// The device's requester id is not its own alone: a bridge puts its id in place, or the device has phantom
        /// functions or an alias.
        ALIASED_REQUESTER = 7,
        /// The page of the MSI-X table also holds something that the guest must not reach.
        SHARED_PAGE = 8,
        /// The host's administrator forbade it.
        POLICY = 9,
        /// The host's kernel has a known defect in this path.
        KERNEL_DEFECT = 10,
        /// The host cannot map the MSI-X table into the guest.
        TABLE_NOT_MAPPABLE = 11,
    }
}

/// The record of ENABLE (`docs/abi.md`, "ENABLE"). The guest writes the *in* fields, the host the *out* fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EnableRecord {
    /// Out: with the status REFUSED the device that the reason is about, otherwise zero.
    pub device: DeviceId,
    /// Out: the status of this record, which is that of the call (statement E7).
    pub status: Status,
    /// In: the bits of the [`Features`] that the guest takes.
    pub features: u64,
    /// In: guest physical address of the [`EventArea`](crate::EventArea), 0 for none. Needs [`Features::EPOCH`].
    pub event_area: GuestPhysAddr,
    /// In: APIC id of the vCPU to which events are announced. Needs [`Features::NOTIFY`].
    pub notify_apic_id: u32,
    /// In: vector on which events are announced, 32 to 255, or 0 for none. Needs [`Features::NOTIFY`].
    pub notify_vector: u32,
    /// Out: with the status REFUSED the reason, otherwise [`Refusal::NONE`].
    pub refusal: Refusal,
    /// In: reserved, zero.
    pub reserved0: u32,
    /// In: reserved, zero.
    pub reserved1: [u64; 3],
}

const _: () = assert!(size_of::<EnableRecord>() == 64);
const _: () = assert!(offset_of!(EnableRecord, device) == 0);
const _: () = assert!(offset_of!(EnableRecord, status) == 4);
const _: () = assert!(offset_of!(EnableRecord, features) == 8);
const _: () = assert!(offset_of!(EnableRecord, event_area) == 16);
const _: () = assert!(offset_of!(EnableRecord, notify_apic_id) == 24);
const _: () = assert!(offset_of!(EnableRecord, notify_vector) == 28);
const _: () = assert!(offset_of!(EnableRecord, refusal) == 32);
const _: () = assert!(offset_of!(EnableRecord, reserved0) == 36);
const _: () = assert!(offset_of!(EnableRecord, reserved1) == 40);

impl EnableRecord {
    /// A request to enable `features`, with an event area or none, and without [`Features::NOTIFY`].
    #[must_use]
    pub fn request(features: Features, event_area: Option<GuestPhysAddr>) -> Self {
        Self {
            device: DeviceId::default(),
            status: Status::PENDING,
            features: features.bits(),
            event_area: event_area.unwrap_or_default(),
            notify_apic_id: 0,
            notify_vector: 0,
            refusal: Refusal::NONE,
            reserved0: 0,
            reserved1: [0; 3],
        }
    }
}
