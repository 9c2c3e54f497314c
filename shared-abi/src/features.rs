//! Features, which the host offers and the guest takes, and the record of the operation FEATURES.

use crate::{Conduits, Status, Version};
use bitflags::bitflags;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// Optional parts of the contract: offered in CPUID and by FEATURES, taken by ENABLE (`docs/abi.md`, "Versions
    /// and features"). What a guest did not take is refused.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct Features: u64 {
        /// Entries of the MSI capability, with one message.
        const MSI = 1 << 0;
        /// Entries of the MSI-X table, which is mapped into the guest.
        const MSIX = 1 << 1;
        /// IMS entries: messages at any other place of a device.
        const IMS = 1 << 2;
        /// Multi-message MSI: 2, 4, 8, 16 or 32 messages of one MSI capability (statement M10).
        const MSI_MULTI = 1 << 3;
        /// Entries may be mapped parked and parked later: without destination, with what is raised held (statement
        /// M6).
        const PARKING = 1 << 4;
        /// The [`EventArea`](crate::EventArea): an epoch that is read without an exit.
        const EPOCH = 1 << 5;
        /// Events are announced by an interrupt. Needs EPOCH.
        const NOTIFY = 1 << 6;
        /// Logical destination mode, where the destination resolves to one vCPU (statements L2 and L3).
        const LOGICAL_DESTINATION = 1 << 7;
        /// Lowest-priority delivery mode; the host chooses the vCPU (statement L3).
        const LOWEST_PRIORITY = 1 << 8;
        /// The redirection hint; the host chooses the vCPU (statement L3).
        const REDIRECTION_HINT = 1 << 9;
        /// ENABLE hands no device over: the guest takes each, and gives it back, with operations of their own
        /// (statements A1 to A8).
        const ATTACH = 1 << 10;
    }
}

/// The record of FEATURES (`docs/abi.md`, "FEATURES"). The guest writes the *in* fields, the host the *out* fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FeaturesRecord {
    /// In: reserved, zero.
    pub reserved0: u32,
    /// Out: the status of this record.
    pub status: Status,
    /// Out: oldest version of the contract that the host speaks.
    pub oldest: Version,
    /// Out: newest version of the contract that the host speaks.
    pub newest: Version,
    /// Out: maximum number of records in one call, 1 to 512.
    pub max_records: u32,
    /// Out: the bits of the [`Features`] that the host offers.
    pub features: u64,
    /// Out: the bits of the [`Features`] that are enabled now, 0 while pvir is not enabled.
    pub enabled: u64,
    /// Out: highest APIC id that a destination may have.
    pub max_apic_id: u32,
    /// Out: maximum number of IRTEs that may be held for this VM.
    pub max_irtes: u32,
    /// Out: number of IRTEs that are held for this VM now.
    pub irtes: u32,
    /// Out: number of devices whose entries this VM may map.
    pub devices: u32,
    /// Out: the bits of [`Conduits`], as in CPUID.
    pub conduits: u32,
    /// In: reserved, zero.
    pub reserved1: u32,
    /// In: reserved, zero.
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
    /// The request of FEATURES: the status is [`Status::PENDING`], all else is zero.
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
