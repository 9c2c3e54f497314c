//! The record of MAP, RETARGET, UNMAP and QUERY: one entry of one device's store.

use crate::open_enum::open_enum;
use crate::{Arch, DeviceId, Handle, Pair, Routing, Status};
use bitflags::bitflags;
use core::mem::offset_of;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

open_enum! {
    /// Where a device keeps its messages.
    Store(u16) {
        /// The MSI capability (PCI Express Base Specification 6.0, section 7.7.1 "MSI Capability Structures").
        MSI = 1,
        /// The MSI-X table (section 7.7.2 "MSI-X Capability and Table Structure").
        MSIX = 2,
        /// Any other place (Intel Scalable I/O Virtualization Technical Specification, "Interrupt Message Storage").
        IMS = 3,
    }
}

bitflags! {
    /// What the guest asks of an entry.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct EntryFlags: u32 {
        /// MAP, RETARGET: no destination. What is raised is held, and delivered at the first route.
        const PARKED = 1 << 0;
    }
}

bitflags! {
    /// What the host answers of an entry.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct EntryState: u32 {
        /// The entry has no destination.
        const PARKED = 1 << 0;
        /// The host left the entry's mask bit set.
        const MASKED = 1 << 1;
        /// The same request was made before: this is its answer again, and nothing was changed.
        const EXISTING = 1 << 2;
    }
}

/// The record of MAP, RETARGET, UNMAP and QUERY (`docs/abi.md`, "The entry record").
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntryRecord {
    /// In: the device.
    pub device: DeviceId,
    /// Out: status of this record.
    pub status: Status,
    /// In: store kind.
    pub store: Store,
    /// In: architecture of `routing`, [`Arch::X86_APIC`]; zero where no routing is given. Out with QUERY.
    pub arch: Arch,
    /// In: index in the store.
    pub index: u32,
    /// In: number of consecutive messages; 1 but for multi-message MSI.
    pub count: u32,
    /// In: [`EntryFlags`].
    pub flags: u32,
    /// Out of MAP, in with RETARGET and UNMAP; with QUERY in (or zero) and out.
    pub handle: Handle,
    /// In with MAP and RETARGET, zero when parked; out of QUERY.
    pub routing: Routing,
    /// Out of MAP, RETARGET and QUERY: message address.
    pub address: u64,
    /// Out of MAP, RETARGET and QUERY: message data.
    pub data: u32,
    /// Out: [`EntryState`].
    pub state: u32,
}

const _: () = assert!(size_of::<EntryRecord>() == 64);
const _: () = assert!(offset_of!(EntryRecord, device) == 0);
const _: () = assert!(offset_of!(EntryRecord, status) == 4);
const _: () = assert!(offset_of!(EntryRecord, store) == 8);
const _: () = assert!(offset_of!(EntryRecord, arch) == 10);
const _: () = assert!(offset_of!(EntryRecord, index) == 12);
const _: () = assert!(offset_of!(EntryRecord, count) == 16);
const _: () = assert!(offset_of!(EntryRecord, flags) == 20);
const _: () = assert!(offset_of!(EntryRecord, handle) == 24);
const _: () = assert!(offset_of!(EntryRecord, routing) == 32);
const _: () = assert!(offset_of!(EntryRecord, address) == 48);
const _: () = assert!(offset_of!(EntryRecord, data) == 56);
const _: () = assert!(offset_of!(EntryRecord, state) == 60);

impl EntryRecord {
    /// A record that names one message of a store and nothing else: a QUERY by entry.
    #[must_use]
    pub fn query(device: DeviceId, store: Store, index: u32) -> Self {
        Self { device, status: Status::PENDING, store, index, count: 1, ..Self::new_zeroed() }
    }

    /// MAP of one message, routed from the start.
    #[must_use]
    pub fn map(device: DeviceId, store: Store, index: u32, routing: Routing) -> Self {
        Self { arch: Arch::X86_APIC, routing, ..Self::query(device, store, index) }
    }

    /// MAP of one message, parked.
    #[must_use]
    pub fn map_parked(device: DeviceId, store: Store, index: u32) -> Self {
        Self { flags: EntryFlags::PARKED.bits(), ..Self::query(device, store, index) }
    }

    /// The same entry with its handle: UNMAP, a QUERY by handle, or the start of a RETARGET.
    #[must_use]
    pub fn with_handle(self, handle: Handle) -> Self {
        Self { handle, ..self }
    }

    /// The pair of the answer.
    #[must_use]
    pub const fn pair(&self) -> Pair {
        Pair { address: self.address, data: self.data }
    }
}
