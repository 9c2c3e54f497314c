//! What an open device says of itself, before it is taken.

use super::failed;
use crate::counters::Counters;
use crate::pci::{ConfigHeader, MsiCapability, MsixCapability};
use crate::vfio::descriptor::Descriptor;
use crate::vfio::error::AttachError;
use crate::vfio::irqs::Irqs;
use crate::vfio::open_device::{Keeper, OpenDevice};
use crate::vfio::region::Region;
use pvir_abi::DeviceId;
use std::fs::File;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{
    VFIO_DEVICE_FLAGS_PCI, VFIO_DEVICE_FLAGS_RESET, VFIO_IRQ_INFO_NORESIZE, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
};

/// An open PCI device, its regions and the start of its configuration space.
pub(crate) struct Description {
    /// The first 256 bytes of its configuration space, as VFIO shows it.
    pub(crate) header: [u8; 256],
    pub(super) bars: [Region; 6],
    pub(super) config: Region,
    /// Whether vectors of MSI-X may be added while others run.
    pub(super) dynamic: bool,
    /// Whether VFIO can reset the device.
    pub(super) resets: bool,
    pub(crate) irqs: Irqs,
    pub(crate) device: Arc<Descriptor>,
    /// Dropped last.
    pub(super) keeper: Keeper,
}

impl Description {
    /// Asks an open device, of which the VMM says that it is at `address`.
    pub(super) fn read(
        device: OpenDevice,
        address: DeviceId,
        counters: &Counters,
    ) -> Result<Self, AttachError> {
        let OpenDevice { descriptor, keeper } = device;
        let device = Arc::new(Descriptor::new(File::from(descriptor)));
        let info = device
            .device_info()
            .map_err(|error| failed(address, "asking what it is (VFIO_DEVICE_GET_INFO)", error))?;
        if info.flags & VFIO_DEVICE_FLAGS_PCI == 0
            || info.regions <= VFIO_PCI_CONFIG_REGION_INDEX
            || info.irqs <= VFIO_PCI_MSIX_IRQ_INDEX
        {
            let what = format!("no PCI device ({info:?})");
            return Err(AttachError::OtherDevice { device: address, what });
        }
        let region = |index| {
            device
                .region(index)
                .map_err(|error| failed(address, "asking for a region (VFIO_DEVICE_GET_REGION_INFO)", error))
        };
        let mut bars = [Region::default(); 6];
        for (index, bar) in (0..).zip(&mut bars) {
            *bar = region(index)?;
        }
        let config = region(VFIO_PCI_CONFIG_REGION_INDEX)?;
        let mut header = [0; 256];
        device
            .read(&mut header, config.offset)
            .map_err(|error| failed(address, "reading config space", error))?;
        let dynamic = match ConfigHeader(&header).msix() {
            None => false,
            Some(_) => {
                let flags = device.irq_flags(VFIO_PCI_MSIX_IRQ_INDEX);
                let failed = |error| failed(address, "asking for MSI-X (VFIO_DEVICE_GET_IRQ_INFO)", error);
                flags.map_err(failed)? & VFIO_IRQ_INFO_NORESIZE == 0
            }
        };
        let irqs = Irqs::new(Arc::clone(&device), counters);
        let resets = info.flags & VFIO_DEVICE_FLAGS_RESET != 0;
        Ok(Self { header, bars, config, dynamic, resets, irqs, device, keeper })
    }

    pub(crate) fn msix(&self) -> Option<MsixCapability> {
        ConfigHeader(&self.header).msix()
    }

    pub(crate) fn msi(&self) -> Option<MsiCapability> {
        ConfigHeader(&self.header).msi()
    }
}
