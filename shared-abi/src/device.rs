//! The record of DEVICE_INFO: what one device can do.

use crate::{DeviceId, Status};
use bitflags::bitflags;
use core::mem::offset_of;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// Store kinds of a device that the host serves.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct Stores: u32 {
        /// [`Store::MSI`](crate::Store::MSI).
        const MSI = 1 << 1;
        /// [`Store::MSIX`](crate::Store::MSIX).
        const MSIX = 1 << 2;
        /// [`Store::IMS`](crate::Store::IMS).
        const IMS = 1 << 3;
    }
}

bitflags! {
    /// Properties of a device.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct DeviceFlags: u32 {
        /// The MSI-X table is mapped into the guest now: reads and writes do not exit.
        const DIRECT = 1 << 0;
        /// MSI-X entries come and go one by one. Without it ENABLE takes interrupts of the host for the whole table, and
        /// a MAP or an UNMAP may stop the device's other entries for a moment; what they raise meanwhile may be lost.
        const DYNAMIC = 1 << 1;
        /// The device is emulated: the VMM itself is the remapping unit.
        const EMULATED = 1 << 2;
    }
}

/// The record of DEVICE_INFO (`docs/abi.md`, "DEVICE_INFO").
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceRecord {
    /// In: the device.
    pub device: DeviceId,
    /// Out: status.
    pub status: Status,
    /// Out: [`Stores`].
    pub stores: u32,
    /// Out: [`DeviceFlags`].
    pub flags: u32,
    /// Out: entries of the MSI-X table that may be mapped.
    pub msix_entries: u32,
    /// Out: messages of the MSI capability that may be mapped.
    pub msi_messages: u32,
    /// Out: IMS entries that may be mapped.
    pub ims_entries: u32,
    /// Out: most IRTEs that this device may hold.
    pub max_irtes: u32,
    /// Out: IRTEs that this device holds now.
    pub irtes: u32,
    /// In: zero.
    pub reserved0: u32,
    /// In: zero.
    pub reserved1: [u64; 3],
}

const _: () = assert!(size_of::<DeviceRecord>() == 64);
const _: () = assert!(offset_of!(DeviceRecord, device) == 0);
const _: () = assert!(offset_of!(DeviceRecord, status) == 4);
const _: () = assert!(offset_of!(DeviceRecord, stores) == 8);
const _: () = assert!(offset_of!(DeviceRecord, flags) == 12);
const _: () = assert!(offset_of!(DeviceRecord, msix_entries) == 16);
const _: () = assert!(offset_of!(DeviceRecord, msi_messages) == 20);
const _: () = assert!(offset_of!(DeviceRecord, ims_entries) == 24);
const _: () = assert!(offset_of!(DeviceRecord, max_irtes) == 28);
const _: () = assert!(offset_of!(DeviceRecord, irtes) == 32);
const _: () = assert!(offset_of!(DeviceRecord, reserved0) == 36);
const _: () = assert!(offset_of!(DeviceRecord, reserved1) == 40);

impl DeviceRecord {
    /// A question about `device`.
    #[must_use]
    pub fn request(device: DeviceId) -> Self {
        Self { device, status: Status::PENDING, ..Self::new_zeroed() }
    }
}
