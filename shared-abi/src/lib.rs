#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "scripted-host")]
extern crate alloc;

mod address;
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
mod routing;
#[cfg(feature = "scripted-host")]
pub mod scripted;
mod status;
mod version;

pub use address::{Bdf, DeviceId, GuestPhysAddr};
pub use block::{BLOCK_ALIGN, CallFlags, Header, MAGIC, MAX_BLOCK_LEN, MAX_RECORDS, RECORD_LEN, block_len};
pub use conduit::{CALL_NUMBER, Conduits, PORT_SHIFT};
pub use cpuid::{CpuidLeaf, Discovery, MAX_BASE, MIN_BASE, SIGNATURE, STEP};
pub use device::{DeviceFlags, DeviceRecord, Stores};
pub use enable::{EnableRecord, Refusal};
pub use entry::{EntryFlags, EntryRecord, EntryState, Store};
pub use events::{EVENT_AREA_ALIGN, EventArea, EventReason};
pub use features::{Features, FeaturesRecord};
pub use handle::Handle;
pub use operation::Operation;
pub use pair::Pair;
pub use routing::{Arch, DeliveryMode, DestinationMode, FIRST_DEVICE_VECTOR, Routing, X86Route};
pub use status::{Error, Status};
pub use version::Version;
