//! Host devices: alioth opens them, in a container whose DMA mappings alioth keeps, and the library takes their interrupts.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use alioth::board::Board;
use alioth::sys::vfio::VfioIommu;
use alioth::vfio::container::{Container, UpdateContainerMapping};
use alioth::vfio::device::Device;
use alioth::vfio::group::{DevFd, Group};
use anyhow::{Context, Result};
use pvir_abi::DeviceId;
use pvir_host::counters::Counters;
use pvir_host::isolation::Host;
use pvir_host::vfio::{Demand, OpenDevice, VfioPci};

use crate::hypervisor::PvirVm;

/// A container whose DMA mappings follow the board's RAM.
pub fn container(board: &Board<PvirVm>) -> Result<Arc<Container>> {
    let container = Arc::new(Container::new("/dev/vfio/vfio")?);
    let follower = UpdateContainerMapping { container: Arc::clone(&container) };
    board.memory.register_change_callback(Box::new(follower))?;
    Ok(container)
}

/// Opens the device at `address`, one of `assigned`, by its group.
pub fn open(container: &Arc<Container>, address: DeviceId, assigned: &[DeviceId]) -> Result<Arc<VfioPci>> {
    let link = format!("/sys/bus/pci/devices/{address}/iommu_group");
    let link = fs::read_link(&link).with_context(|| format!("{link}: the device is in no IOMMU group"))?;
    let mut group = Group::new(&Path::new("/dev/vfio").join(link.file_name().unwrap_or_default()))?;
    group.attach(Arc::clone(container), VfioIommu::TYPE1_V2)?;
    let device = DevFd::new(Arc::new(group), &address.to_string())?;
    let device = OpenDevice::duplicate(device.fd().as_fd())?.keeping(device);
    let (host, demand) = (Host::default(), Demand::Isolation);
    Ok(Arc::new(VfioPci::from_open(device, &host, address, assigned, demand, &Counters::new())?))
}
