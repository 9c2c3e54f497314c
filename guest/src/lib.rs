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

mod attached;
mod block;
mod call;
mod check;
mod claims;
pub mod conduit;
mod contract_violation;
mod cpu;
mod device_info;
mod discover;
mod either;
mod entry;
mod error;
mod events;
#[cfg(any(test, all(feature = "fake", not(target_os = "none"))))]
pub mod fake;
mod features;
mod ims;
mod irte;
mod ledger;
mod lock;
mod map;
mod msi;
mod msix;
mod pci;
mod platform;
mod query;
mod record;
mod recovery;
mod renamed;
mod retarget;
mod session;
mod store_entry;
mod sync;
#[cfg(test)]
mod tests;
mod unmap;

pub use attached::{AttachedDevice, DetachFailed};
pub use block::{BlockMemory, RequestBlock};
pub use call::BatchMode;
pub use conduit::Conduit;
pub use contract_violation::ContractViolation;
pub use device_info::{DeviceInfo, DeviceInfoResult};
pub use discover::{Discovered, NotDiscovered, discover, discover_with};
pub use either::EitherStore;
pub use entry::{Entry, Live, MaskFailed, Masked, ProgramFailed, Programmed, StoreError};
pub use error::{EntryError, Error};
pub use events::{EventMemory, Events, LatestEvent, StaticEventArea};
pub use features::HostLimits;
pub use ims::{ImsControl, ImsLayout, ImsMemory, ImsSlot};
pub use irte::{HoldsIrte, Irte, Origin, Target};
pub use ledger::IrteLedger;
pub use lock::{BlockLock, SpinBlock};
pub use map::{MapRequest, MapResult, NOT_MAPPED};
pub use msi::{MsiCapability, MsiStore};
pub use msix::{MsixEntry, MsixTable};
pub use pci::PciError;
pub use platform::Platform;
pub use query::{IrteInfo, QueryResult};
pub use recovery::{Advice, ReacquireFailed, Reacquired};
pub use renamed::Renamed;
pub use retarget::RetargetResult;
pub use session::{DisableFailed, Disabled, EnableFailed, EnableOptions, Notify, Pvir, Remapping};
pub use store_entry::{Mask, StoreEntry};
pub use unmap::{UnmapFailed, UnmapResult};

pub use pvir_abi as abi;
// Their types are in the public interface: a kernel that uses these cannot have another version of them.
pub use pci_types;
pub use x86_64;
