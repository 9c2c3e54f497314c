//! The record of MAP, RETARGET, UNMAP and QUERY: one entry of one device's store.

use crate::open_enum::open_enum;
use crate::{Arch, DeviceId, Handle, Pair, Routing, Status};
use bitflags::bitflags;
use core::mem::offset_of;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

open_enum! {
    /// The kind of store in which a device keeps a message.
    Store(u16) {
        /// The MSI capability (PCI Express Base Specification 6.0, section 7.7.1 "MSI Capability Structures").
        MSI = 1,
        /// The MSI-X table (PCI Express Base Specification 6.0, section 7.7.2 "MSI-X Capability and Table
        /// Structure").
        MSIX = 2,
        /// Any other place of the device's own making: Interrupt Message Store (Intel Scalable I/O Virtualization
        /// Technical Specification, "Interrupt Message Storage").
        IMS = 3,
    }
}

bitflags! {
    /// Flags of an entry record, in [`EntryRecord::flags`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct EntryFlags: u32 {
        /// For MAP and RETARGET: the entry gets no destination. The host holds what the device raises, and delivers
        /// it at the first RETARGET to a routing (statement M6). Needs
        /// [`Features::PARKING`](crate::Features::PARKING).
        const PARKED = 1 << 0;
    }
}

bitflags! {
    /// The state of an entry, in [`EntryRecord::state`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
    pub struct EntryState: u32 {
        /// The entry has no destination.
        const PARKED = 1 << 0;
        /// The host left the entry's mask bit set.
        const MASKED = 1 << 1;
        /// The same MAP was made before: this is its answer again, and nothing was changed (statement M5).
        const EXISTING = 1 << 2;
    }
}

/// The record of MAP, RETARGET, UNMAP and QUERY (`docs/abi.md`, "The entry record").
///
/// The guest writes the *in* fields, the host the *out* fields. Fields that an operation does not take are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntryRecord {
    /// In: the device whose entry is meant.
    pub device: DeviceId,
    /// Out: the status of this record.
    pub status: Status,
    /// In: the kind of the store.
    pub store: Store,
    /// In with MAP and RETARGET, out with QUERY: what `routing` means; zero where there is no routing.
    pub arch: Arch,
    /// In: index of the entry in its store.
    pub index: u32,
    /// In: number of consecutive messages: 1, or for multi-message MSI a power of two up to 32.
    pub count: u32,
    /// In: the bits of [`EntryFlags`].
    pub flags: u32,
    /// Out with MAP, in with RETARGET and UNMAP, in or zero and then out with QUERY: the name of the IRTE.
    pub handle: Handle,
    /// In with MAP and RETARGET, out with QUERY: where the interrupt goes; zero for a parked entry.
    pub routing: Routing,
    /// Out with MAP, RETARGET and QUERY: the message address of the pair.
    pub address: u64,
    /// Out with MAP, RETARGET and QUERY: the message data of the pair.
    pub data: u32,
    /// Out: the bits of [`EntryState`].
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
    /// A record that names entry `index` of a store, with one message, and nothing else: the request of a QUERY.
    #[must_use]
    pub fn query(device: DeviceId, store: Store, index: u32) -> Self {
        Self { device, status: Status::PENDING, store, index, count: 1, ..Self::new_zeroed() }
    }

    /// The request of a MAP of one message that goes to `routing` from the start.
    #[must_use]
    pub fn map(device: DeviceId, store: Store, index: u32, routing: Routing) -> Self {
        Self { arch: Arch::X86_APIC, routing, ..Self::query(device, store, index) }
    }

    /// The request of a MAP of one message, parked.
    #[must_use]
    pub fn map_parked(device: DeviceId, store: Store, index: u32) -> Self {
        Self { flags: EntryFlags::PARKED.bits(), ..Self::query(device, store, index) }
    }

    /// The same record with a handle: from [`EntryRecord::query`] the request of an UNMAP or of a QUERY by handle,
    /// from [`EntryRecord::map`] or [`EntryRecord::map_parked`] that of a RETARGET.
    #[must_use]
    pub fn with_handle(self, handle: Handle) -> Self {
        Self { handle, ..self }
    }

    /// The pair in `address` and `data`.
    #[must_use]
    pub const fn pair(&self) -> Pair {
        Pair { address: self.address, data: self.data }
    }
}
