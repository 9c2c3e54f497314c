//! What an emulated device of any VMM needs to have its interrupts programmed by the guest: no VFIO, no IOMMU, the same
//! contract.
//!
//! - [`StoreLayout`]: the device's stores, and the numbers of its interrupts.
//! - [`SharedTable`]: its MSI-X table and pending bits, in memory that it shares with the guest, so that programming,
//!   masking and unmasking cost no exit.
//! - [`SoftwareUnit`]: the remapping unit in software, with IRTEs, source ids and faults as on hardware. [`HandlePool`]
//!   keeps the handles of a VM's devices apart.
//!
//! ```text
//! the device raises an interrupt ──> SharedTable::entry (mask?) ──> SoftwareUnit::remap ──> eventfd ──> KVM irqfd ──> vCPU
//! ```

mod handles;
mod layout;
mod table;
mod unit;

pub use handles::HandlePool;
pub use layout::{MAX_MESSAGES, MAX_VECTORS, MessageStore, MsiForm, StoreLayout};
pub use table::{SharedTable, TableEntry};
pub use unit::{RemappingFault, SoftwareUnit};
