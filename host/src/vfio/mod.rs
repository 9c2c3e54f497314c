//! Host PCI devices by VFIO: their interrupts are allocated and started by `VFIO_DEVICE_SET_IRQS`, and their
//! address/data pairs are read from the device.
//!
//! - [`Container`]: the IOMMU domain of one VM, with its groups and DMA mappings.
//! - [`VfioPci`]: one PCI device, with its configuration space, its BARs and its capabilities.
//! - [`VfioDevice`]: such a device as a [`Device`](crate::device::Device) of the service.

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
