//! Features: what the host offers and the guest takes, and the answer of FEATURES.

use crate::{Conduits, Status, Version};
use bitflags::bitflags;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// Features, offered in CPUID and by FEATURES, taken by ENABLE (`docs/abi.md`, "Versions and features").
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct Features: u64 {
        /// Store kind MSI, one message.
        const MSI = 1 << 0;
        /// Store kind MSI-X, the table mapped into the guest.
        const MSIX = 1 << 1;
        /// Store kind IMS.
        const IMS = 1 << 2;
        /// Multi-message MSI.
        const MSI_MULTI = 1 << 3;
        /// Entries may be mapped parked, and parked again.
        const PARKING = 1 << 4;
        /// The event area: an epoch that is read without an exit.
        const EPOCH = 1 << 5;
        /// Events are announced on a vector. Needs EPOCH.
        const NOTIFY = 1 << 6;
        /// Logical destination mode, where it resolves to one vCPU.
        const LOGICAL_DESTINATION = 1 << 7;
        /// Lowest-priority delivery, where it resolves to one vCPU.
        const LOWEST_PRIORITY = 1 << 8;
        /// The redirection hint, where it resolves to one vCPU.
        const REDIRECTION_HINT = 1 << 9;
    }
}

/// The record of FEATURES (`docs/abi.md`, "FEATURES").
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FeaturesRecord {
    /// In: zero.
    pub reserved0: u32,
    /// Out: status.
    pub status: Status,
    /// Out: oldest version that the host speaks.
    pub oldest: Version,
    /// Out: newest version that the host speaks.
    pub newest: Version,
    /// Out: most records in one call.
    pub max_records: u32,
    /// Out: [`Features`] offered.
    pub features: u64,
    /// Out: [`Features`] enabled now, 0 while not enabled.
    pub enabled: u64,
    /// Out: highest APIC id that a destination may have.
    pub max_apic_id: u32,
    /// Out: most IRTEs that this VM may hold.
    pub max_irtes: u32,
    /// Out: IRTEs that this VM holds now.
    pub irtes: u32,
    /// Out: number of devices that this VM may ask for.
    pub devices: u32,
    /// Out: [`Conduits`], as in CPUID.
    pub conduits: u32,
    /// In: zero.
    pub reserved1: u32,
    /// In: zero.
    pub reserved2: u64,
}

const _: () = assert!(size_of::<FeaturesRecord>() == 64);
const _: () = assert!(offset_of!(FeaturesRecord, status) == 4);
const _: () = assert!(offset_of!(FeaturesRecord, oldest) == 8);
const _: () = assert!(offset_of!(FeaturesRecord, newest) == 10);
const _: () = assert!(offset_of!(FeaturesRecord, max_records) == 12);
const _: () = assert!(offset_of!(FeaturesRecord, features) == 16);
const _: () = assert!(offset_of!(FeaturesRecord, enabled) == 24);
const _: () = assert!(offset_of!(FeaturesRecord, max_apic_id) == 32);
const _: () = assert!(offset_of!(FeaturesRecord, max_irtes) == 36);
const _: () = assert!(offset_of!(FeaturesRecord, irtes) == 40);
const _: () = assert!(offset_of!(FeaturesRecord, devices) == 44);
const _: () = assert!(offset_of!(FeaturesRecord, conduits) == 48);
const _: () = assert!(offset_of!(FeaturesRecord, reserved1) == 52);
const _: () = assert!(offset_of!(FeaturesRecord, reserved2) == 56);

impl FeaturesRecord {
    /// A record as the guest fills it: all zero, status pending.
    #[must_use]
    pub const fn request() -> Self {
        Self {
            reserved0: 0,
            status: Status::PENDING,
            oldest: Version(0),
            newest: Version(0),
            max_records: 0,
            features: 0,
            enabled: 0,
            max_apic_id: 0,
            max_irtes: 0,
            irtes: 0,
            devices: 0,
            conduits: Conduits::empty().bits(),
            reserved1: 0,
            reserved2: 0,
        }
    }
}
