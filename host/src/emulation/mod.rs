//! Building blocks for emulated devices whose interrupts a guest programs by the contract, without VFIO and without
//! an IOMMU.
//!
//! - [`StoreLayout`]: the stores of a device, and the numbers of its interrupts.
//! - [`SharedTable`]: the MSI-X table and pending bits of a device, in memory that it shares with the guest.
//!   Programming, masking and unmasking an entry then cause no exit.
//! - [`SoftwareUnit`]: a remapping unit in software, with IRTEs, source ids and faults as in hardware. A
//!   [`HandlePool`] gives each device of a VM handles of its own.
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
pub use unit::{RemappingFault, SavedUnit, SoftwareUnit};
