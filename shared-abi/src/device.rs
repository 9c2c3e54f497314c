//! The record of DEVICE_INFO: which stores of a device the host serves, and how many interrupts it grants.

use crate::{DeviceId, Status};
use bitflags::bitflags;
use core::mem::offset_of;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// The kinds of store that the host serves for a device. Bit *n* is the [`Store`](crate::Store) with number *n*.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct Stores: u32 {
        /// The MSI capability, [`Store::MSI`](crate::Store::MSI).
        const MSI = 1 << 1;
        /// The MSI-X table, [`Store::MSIX`](crate::Store::MSIX).
        const MSIX = 1 << 2;
        /// Any other place, [`Store::IMS`](crate::Store::IMS).
        const IMS = 1 << 3;
    }
}

bitflags! {
    /// Properties of a device, in [`DeviceRecord::flags`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct DeviceFlags: u32 {
        /// The MSI-X table is mapped into the guest, or will be by ENABLE or ATTACH: reads and writes of it do not
        /// exit.
        const DIRECT = 1 << 0;
        /// The host can start and stop each MSI-X entry of the device by itself.
        ///
        /// Without this flag ENABLE, or ATTACH, takes interrupts of the host for the whole table. A MAP or an UNMAP may
        /// then stop the device's other entries for a moment, and what they raise meanwhile may be lost.
        const DYNAMIC = 1 << 1;
        /// The device is emulated, and the VMM itself is the remapping unit.
        const EMULATED = 1 << 2;
        /// The guest has taken the device with ATTACH (statement A1). Never set unless the guest took
        /// [`Features::ATTACH`](crate::Features::ATTACH).
        const ATTACHED = 1 << 3;
    }
}

/// The record of DEVICE_INFO (`docs/abi.md`, "DEVICE_INFO"). The guest writes the *in* fields, the host the *out*
/// fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceRecord {
    /// In: the device that is asked about.
    pub device: DeviceId,
    /// Out: the status of this record.
    pub status: Status,
    /// Out: the bits of [`Stores`].
    pub stores: u32,
    /// Out: the bits of [`DeviceFlags`].
    pub flags: u32,
    /// Out: number of MSI-X entries that may be mapped, 0 to 2048.
    pub msix_entries: u32,
    /// Out: number of messages of the MSI capability that may be mapped, 0 to 32.
    pub msi_messages: u32,
    /// Out: number of IMS entries that may be mapped (statements M8 and M11).
    pub ims_entries: u32,
    /// Out: maximum number of IRTEs that may be held for this device.
    pub max_irtes: u32,
    /// Out: number of IRTEs that are held for this device now.
    pub irtes: u32,
    /// In: reserved, zero.
    pub reserved0: u32,
    /// In: reserved, zero.
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
    /// A request for what the host says of `device`: the status is [`Status::PENDING`], all else is zero.
    #[must_use]
    pub fn request(device: DeviceId) -> Self {
        Self { device, status: Status::PENDING, ..Self::new_zeroed() }
    }
}
