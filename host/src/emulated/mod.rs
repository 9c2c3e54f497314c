//! An emulated device for any machine with KVM: no VFIO, no IOMMU, the same contract.
//!
//! It has an MSI-X table or an MSI capability, an IMS array in the guest's RAM, DMA into that RAM, and registers by which
//! the guest raises any interrupt at any rate; `docs/emulated-device.md` specifies it for who writes a driver. The table
//! and its pending bits stand in memory that the device shares with the guest, so programming, masking and unmasking cost
//! no exit; the VMM itself is the remapping unit (module `unit`), with IRTEs, source ids and faults as on hardware.
//!
//! ```text
//! register, rate thread ──> Core::raise ──> sequence number into guest RAM
//!                                      └──> entry (mask? pending) ──> virtual IRTE ──> eventfd ──> KVM irqfd ──> vCPU
//! ```

mod core;
mod counts;
mod device;
mod generator;
mod handles;
mod ims;
mod msi;
mod pending;
pub mod registers;
mod shape;
mod started;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod unit;

pub use core::Core;
pub use counts::Counts;
pub use device::EmulatedDevice;
pub use generator::{MAX_ROUNDS, Plan};
pub use handles::HandlePool;
pub use msi::MsiRegisters;
pub use shape::{MAX_MESSAGES, MAX_VECTORS, MessageStore, MsiForm, Shape};
pub use table::SharedTable;
pub use unit::Fault;

/// PCI vendor id: `"PV"`. Not assigned by the PCI-SIG; the device exists inside of VMs only.
pub const VENDOR_ID: u16 = 0x5056;
/// PCI device id.
pub const DEVICE_ID: u16 = 0x0001;
