//! Host PCI devices by VFIO: their interrupts are allocated and started by `VFIO_DEVICE_SET_IRQS`, and their
//! address/data pairs are read from the device.
//!
//! - [`VfioPci`]: one PCI device, with its configuration space, its BARs and its capabilities.
//! - [`VfioDevice`]: such a device as a [`Device`](crate::device::Device) of the service.
//! - [`Container`]: the IOMMU domain of one VM, with its devices and DMA mappings, where the VMM has none of its own.
//! - [`VfioWay`]: the two ways to a device: groups and a container, or the device's own file and an iommufd.
//! - [`OpenDevice`]: a device that the VMM has opened in a container or an iommufd of its own.

mod cdev;
mod container;
mod descriptor;
mod device;
mod dma;
mod error;
mod given;
mod identity;
mod interrupt_sum;
mod interrupts;
mod irqs;
mod messages;
mod migration;
mod msix_table;
mod open_device;
mod pci;
mod region;
mod vectors;
mod way;

pub use container::Container;
pub use device::VfioDevice;
pub use dma::DmaError;
pub use error::AttachError;
/// The crate whose types [`Container::from_iommufd`] takes.
pub use iommufd_ioctls;
pub(crate) use migration::{DeviceState, GoesOn};
pub use open_device::OpenDevice;
pub use pci::{Demand, DeviceNotice, HotResetScope, VfioPci};
/// The crate whose types [`Container::from_vfio`] and [`OpenDevice::of_vfio_ioctls`] take.
pub use vfio_ioctls;
pub use way::VfioWay;
