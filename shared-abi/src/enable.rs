//! The record of ENABLE, and the reasons for which a host refuses.

use crate::open_enum::open_enum;
use crate::{DeviceId, Features, GuestPhysAddr, Status};
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

open_enum! {
    /// Why ENABLE was refused (`docs/abi.md`, "Reasons to refuse"). Meaningful with status REFUSED only.
    Refusal(u32) {
        /// Not refused.
        NONE = 0,
        /// Interrupt remapping is off on the host.
        NO_REMAPPING = 1,
        /// Interrupt remapping does not verify the source id.
        NO_SOURCE_ID = 2,
        /// The kernel was told to assume isolation between functions that the hardware does not give.
        ACS_OVERRIDDEN = 3,
        /// VFIO or iommufd was told to allow devices without interrupt isolation.
        UNSAFE_INTERRUPTS = 4,
        /// The device is used without an IOMMU.
        NO_IOMMU = 5,
        /// The device shares its IOMMU group with something outside of this VM.
        SHARED_GROUP = 6,
        /// The device's requester id is not its own (bridge, phantom function, alias).
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

/// The record of ENABLE (`docs/abi.md`, "ENABLE").
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EnableRecord {
    /// Out: with REFUSED, the device that the reason is about; otherwise zero.
    pub device: DeviceId,
    /// Out: status.
    pub status: Status,
    /// In: [`Features`] that the guest takes.
    pub features: u64,
    /// In: address of the [`EventArea`](crate::EventArea), 0 for none. Needs EPOCH.
    pub event_area: GuestPhysAddr,
    /// In: APIC id for notifications. Needs NOTIFY.
    pub notify_apic_id: u32,
    /// In: vector for notifications, 0 for none. Needs NOTIFY.
    pub notify_vector: u32,
    /// Out: why it was refused.
    pub refusal: Refusal,
    /// In: zero.
    pub reserved0: u32,
    /// In: zero.
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
    /// A request for `features`, with an event area or none, and without notification.
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
