//! VFIO's part: allocates and starts the device's interrupts, and shows the pair.
//!
//! - [`Container`]: the IOMMU domain of one VM: groups, DMA mappings.
//! - [`VfioPci`]: one device: config space, BARs, what it can do.
//! - [`VfioDevice`]: the same device behind the service's [`Device`](crate::device::Device) trait.

mod container;
mod device;
mod error;
mod interrupts;
mod irqs;
mod msix_table;
mod pci;
mod vectors;

pub use container::Container;
pub use device::VfioDevice;
pub use error::AttachError;
pub use pci::{Demand, VfioPci};
