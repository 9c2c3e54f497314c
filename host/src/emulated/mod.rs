//! An emulated device for any machine with KVM: no VFIO, no IOMMU, the same contract.
//!
//! Its MSI-X table and pending bits stand in memory that it shares with the guest, so programming, masking and
//! unmasking cost no exit; the VMM itself is the remapping unit (module `unit`), with IRTEs, generations and faults as on
//! hardware. A register raises any vector any number of times, others tell what became of it.
//!
//! ```text
//! register ──> Core::raise ──> table entry (mask? pending bit) ──> virtual IRTE ──> eventfd ──> KVM irqfd ──> vCPU
//! ```

mod core;
mod device;
mod pending;
pub mod registers;
mod table;
mod unit;

pub use core::{Core, Counts};
pub use device::EmulatedDevice;
pub use table::SharedTable;
pub use unit::{Fault, HandlePool};

/// PCI vendor id: `"PV"`. Not assigned by the PCI-SIG; the device exists inside of VMs only.
pub const VENDOR_ID: u16 = 0x5056;
/// PCI device id.
pub const DEVICE_ID: u16 = 0x0001;
/// Most vectors that the device can have: the limit of MSI-X.
pub const MAX_VECTORS: u32 = 2048;
