//! Devices by their own file (`/dev/vfio/devices/vfioN`, a "cdev") and iommufd: the way into VFIO beside groups and
//! containers (Linux 6.6, Documentation/driver-api/vfio.rst, "IOMMUFD and vfio_iommu_type1" and "Device cdev Example").
//!
//! `VFIO_DEVICE_BIND_IOMMUFD` gives the device to the iommufd; KVM's device of type `KVM_DEV_TYPE_VFIO` is then told of
//! the file; `VFIO_DEVICE_ATTACH_IOMMUFD_PT` puts it into the IOAS. KVM holds the file open until it is told to let it
//! go. So a step that fails is undone from its end: a file that KVM kept would keep the driver
//! from being taken off the device for as long as the VM lives. Closing the file detaches and unbinds.

mod bound;
mod calls;
#[cfg(test)]
mod fake;
mod refusal;
#[cfg(test)]
mod tests;

pub(super) use bound::BoundDevice;
pub(super) use calls::Kernel;

use super::error::AttachError;
use super::identity;
use crate::isolation::Host;
use pvir_abi::DeviceId;
use std::fs::File;
use std::sync::Arc;

/// Opens the device at `address`, binds it and attaches it.
pub(super) fn open(
    kernel: &Arc<Kernel>,
    host: &Host,
    address: DeviceId,
) -> Result<BoundDevice<Kernel>, AttachError> {
    let node = host.vfio_node(address).ok_or_else(|| refusal::no_node(host, address))?;
    BoundDevice::open(kernel, &node).map_err(|failed| refusal::explain(host, address, &node, failed))
}

/// Binds and attaches the device at `address`, whose own file somebody else has opened.
pub(super) fn bind(
    kernel: &Arc<Kernel>,
    host: &Host,
    address: DeviceId,
    file: File,
) -> Result<BoundDevice<Kernel>, AttachError> {
    let node = host.vfio_node(address).ok_or_else(|| refusal::no_node(host, address))?;
    // Before anything is done with it.
    if !identity::check_node(&file, host, address)? {
        let what = "the file that was given is no character device".to_owned();
        return Err(AttachError::OtherDevice { device: address, what });
    }
    BoundDevice::bind(kernel, file).map_err(|failed| refusal::explain(host, address, &node, failed))
}
