//! The IOMMU domain of one VM.

use super::descriptor;
use super::dma::{DmaDomain, DmaError, DmaTable, GuestRegion};
use super::error::{AttachError, attach_error};
use super::open_device::OpenDevice;
use crate::counters::Counters;
use kvm_ioctls::DeviceFd;
use pvir_abi::{DeviceId, GuestPhysAddr};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioDeviceFd, VfioError, VfioOps};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap};

/// The IOMMU domain of one VM, and the RAM that its devices reach by DMA, at its guest physical addresses.
///
/// It is one way to open devices ([`VfioPci::open`](super::VfioPci::open)). A VMM that opens its devices itself has no
/// need of it ([`VfioPci::from_open`](super::VfioPci::from_open)).
///
/// RAM is mapped when the first device is opened, because the first group gives a container its IOMMU, and the last one
/// takes it away again, with all mappings.
pub struct Container {
    ops: Arc<dyn VfioOps>,
    counters: Arc<Counters>,
    /// Held while a device is opened or given back, so that the table knows whether there is an IOMMU.
    dma: Mutex<DmaTable>,
}

impl Container {
    /// A container of its own, without devices, for the VM's RAM. `kvm_device` is the VM's KVM device of type
    /// `KVM_DEV_TYPE_VFIO`, which is given each group that the VM uses.
    ///
    /// # Errors
    /// The error of `vfio-ioctls`, if `/dev/vfio/vfio` cannot be opened, or does not have VFIO's API version and
    /// type-1 IOMMU.
    pub fn new<B: Bitmap + Send + Sync + 'static>(
        ram: &GuestMemoryMmap<B>,
        kvm_device: Option<DeviceFd>,
        counters: Arc<Counters>,
    ) -> Result<Self, VfioError> {
        let kvm_device = kvm_device.map(|fd| Arc::new(VfioDeviceFd::new_from_kvm(fd)));
        let ops = Arc::new(VfioContainer::new(kvm_device)?);
        let dma = Mutex::new(ram.iter().map(GuestRegion::new).collect());
        Ok(Self { ops, counters, dma })
    }

    /// A container, or another kind of IOMMU domain, that the VMM has from `vfio-ioctls`. The VMM maps its RAM itself, or
    /// by [`map_region`](Self::map_region); no region may be mapped in both ways. Devices of it may be opened by either
    /// side.
    #[must_use]
    pub fn from_vfio(ops: Arc<dyn VfioOps>, counters: Arc<Counters>) -> Self {
        Self { ops, counters, dma: Mutex::default() }
    }

    /// Lets the devices reach a region of RAM by DMA: those that are open, and those that come later. The region stays
    /// allocated as long as they do.
    ///
    /// # Errors
    /// [`DmaError`] with the errno: `EEXIST` if a region that is mapped already overlaps it, or that of
    /// `VFIO_IOMMU_MAP_DMA`. Nothing has then changed.
    pub fn map_region<B: Bitmap + Send + Sync + 'static>(
        &self,
        region: &GuestRegionMmap<B>,
    ) -> Result<(), DmaError> {
        self.dma().add(&self.domain(), GuestRegion::new(region))
    }

    /// Takes a region from the devices, before the VMM takes it from the guest. Afterwards no device reaches it, and it
    /// is not kept allocated.
    ///
    /// # Errors
    /// [`DmaError`] with the errno: `ENOENT` if no region of this address and length in bytes was mapped, or that of
    /// `VFIO_IOMMU_UNMAP_DMA`. The devices may then still reach it, and it stays allocated.
    pub fn unmap_region(&self, start: GuestPhysAddr, len: u64) -> Result<(), DmaError> {
        self.dma().remove(&self.domain(), start, len)
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Opens the device whose folder in sysfs is `path`, with all RAM mapped for it.
    pub(super) fn open(self: &Arc<Self>, device: DeviceId, path: &Path) -> Result<Attachment, AttachError> {
        // Declared before what is opened: on failure that is dropped first, and still under the lock.
        let mut dma = self.dma();
        let opened = VfioDevice::new(path, Arc::clone(&self.ops), false)
            .map_err(|error| attach_error(device, error))?;
        dma.attach(&self.domain()).map_err(|source| AttachError::Dma { device, source })?;
        drop(dma);
        Ok(Attachment { device: Some(opened), container: Arc::clone(self) })
    }

    fn dma(&self) -> MutexGuard<'_, DmaTable> {
        self.dma.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn domain(&self) -> DmaDomain<'_> {
        DmaDomain { ops: &*self.ops, counters: &self.counters }
    }
}

/// A device that a container has opened. Its own descriptor is the last that is closed, because only then can it give
/// its group back.
pub(super) struct Attachment {
    device: Option<VfioDevice>,
    container: Arc<Container>,
}

impl Attachment {
    /// The device, with another descriptor of its own.
    pub(super) fn open_device(self) -> io::Result<OpenDevice> {
        let device = self.device.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(OpenDevice::duplicate(descriptor::borrow(device))?.keeping(self))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut dma = self.container.dma();
        drop(self.device.take());
        dma.detach();
    }
}
