#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "scripted-host")]
extern crate alloc;

mod address;
mod attach;
mod block;
mod conduit;
mod cpuid;
mod device;
mod enable;
mod entry;
mod events;
mod features;
mod handle;
mod open_enum;
mod operation;
mod pair;
mod parse_address;
mod routing;
#[cfg(feature = "scripted-host")]
pub mod scripted;
mod status;
mod version;

pub use address::{Bdf, DeviceId, GuestPhysAddr};
pub use attach::AttachRecord;
pub use block::{
    BLOCK_ALIGN, CallFlags, Header, MAX_BLOCK_LEN, MAX_RECORDS, RECORD_LEN, REQUEST_MAGIC, block_len,
};
pub use conduit::{
    CONDUIT_PORT_STEP, Conduits, HYPERCALL_NUMBER, MAX_CONDUIT_MSR, MAX_CONDUIT_PORT, MIN_CONDUIT_MSR,
    MIN_CONDUIT_PORT, PORT_ADDRESS_SHIFT, is_conduit_msr, is_conduit_port,
};
pub use cpuid::{CPUID_BASE_STEP, CPUID_SIGNATURE, CpuidLeaf, Discovery, MAX_CPUID_BASE, MIN_CPUID_BASE};
pub use device::{DeviceFlags, DeviceRecord, Stores};
pub use enable::{EnableRecord, Refusal};
pub use entry::{EntryFlags, EntryRecord, EntryState, Store};
pub use events::{EVENT_AREA_ALIGN, EventArea, EventReason};
pub use features::{Features, FeaturesRecord};
pub use handle::Handle;
pub use operation::Operation;
pub use pair::Pair;
pub use parse_address::ParseAddressError;
pub use routing::{Arch, DeliveryMode, DestinationMode, FIRST_DEVICE_VECTOR, Routing, X86Route};
pub use status::{Status, StatusError};
pub use version::Version;
