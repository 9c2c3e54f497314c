#![expect(unsafe_code, reason = "guest RAM is given to a device for DMA")]
//! The IOMMU domain of one VM.

use super::error::AttachError;
use crate::counters::Counters;
use kvm_ioctls::DeviceFd;
use pvir_abi::DeviceId;
use std::io;
use std::sync::Arc;
use vfio_ioctls::{VfioContainer, VfioDeviceFd, VfioError};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// A VFIO container in which the VM's RAM is mapped for DMA, at the guest physical addresses.
pub struct Container {
    inner: Arc<VfioContainer>,
    counters: Arc<Counters>,
    /// Devices write to it for as long as the container lives.
    ram: GuestMemoryMmap,
    mapped: std::sync::Once,
}

impl Container {
    /// A container without devices. `kvm_device` is the VM's KVM device of type `KVM_DEV_TYPE_VFIO`, which is given
    /// each group that the VM uses.
    ///
    /// # Errors
    /// The error of `vfio-ioctls`, if `/dev/vfio/vfio` cannot be opened, or does not have VFIO's API version and
    /// type-1 IOMMU.
    pub fn new(
        ram: GuestMemoryMmap,
        kvm_device: Option<DeviceFd>,
        counters: Arc<Counters>,
    ) -> Result<Self, VfioError> {
        let kvm_device = kvm_device.map(|fd| Arc::new(VfioDeviceFd::new_from_kvm(fd)));
        let inner = Arc::new(VfioContainer::new(kvm_device)?);
        Ok(Self { inner, counters, ram, mapped: std::sync::Once::new() })
    }

    pub(crate) fn inner(&self) -> &Arc<VfioContainer> {
        &self.inner
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Maps the RAM once the first group has given the container its IOMMU.
    pub(crate) fn map_ram(&self, device: DeviceId) -> Result<(), AttachError> {
        let mut result = Ok(());
        self.mapped.call_once(|| result = self.map_every_region());
        result.map_err(|source| AttachError::Vfio {
            device,
            operation: "mapping guest RAM for DMA; help: raise the locked-memory limit (`ulimit -l`)",
            source,
        })
    }

    fn map_every_region(&self) -> Result<(), VfioError> {
        for region in self.ram.iter() {
            let at = region
                .get_host_address(vm_memory::MemoryRegionAddress(0))
                .map_err(|_| VfioError::GetHostAddress)?;
            let len = usize::try_from(region.len())
                .map_err(|error| VfioError::OpenContainer(io::Error::other(error)))?;
            self.counters.count_ioctl("VFIO_IOMMU_MAP_DMA");
            // SAFETY: the region stays mapped as long as `self.ram`, which lives as long as the container; vm-memory
            // gives access to it by volatile copies only, never by reference.
            unsafe { self.inner.vfio_dma_map(region.start_addr().0, len, at)? };
        }
        Ok(())
    }
}
