#![doc = include_str!("../README.md")]
#![no_std]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod block;
mod call;
mod check;
mod claims;
pub mod conduit;
mod cpu;
mod device;
mod discover;
mod entry;
mod error;
mod events;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod features;
mod host_error;
mod ims;
mod irte;
mod map;
mod msi;
mod msix;
mod pci;
mod platform;
mod query;
mod remapping;
mod retarget;
mod session;
mod store;
#[cfg(test)]
mod tests;
mod unmap;

pub use block::{BlockMemory, RequestBlock};
pub use call::BatchMode;
pub use conduit::Conduit;
pub use device::{Device, DeviceResult};
pub use discover::{Discovered, NotDiscovered, discover};
pub use entry::{Entry, Live, MaskFailed, Masked, ProgramFailed, Programmed, StoreError};
pub use error::{EntryError, Error};
pub use events::{EventMemory, EventWord, Events, Snapshot};
pub use features::HostLimits;
pub use host_error::HostError;
pub use ims::{ImsControl, ImsLayout, ImsMemory, ImsSlot};
pub use irte::{Irte, NamesIrte, Origin, Target};
pub use map::{MapResult, NOT_MAPPED, Request};
pub use msi::{MsiCapability, MsiStore};
pub use msix::{MsixEntry, MsixTable};
pub use pci::PciError;
pub use platform::Platform;
pub use query::{Held, QueryResult};
pub use remapping::{DisableFailed, Remapping};
pub use retarget::RetargetResult;
pub use session::{EnableFailed, EnableOptions, Notify, Pvir};
pub use store::{Mask, Store};
pub use unmap::{UnmapFailed, UnmapResult};

pub use pvir_abi as abi;
