//! The IOMMU domain of one VM.

use super::cdev::{self, BoundDevice, Kernel};
use super::descriptor;
use super::dma::{DmaDomain, DmaError, DmaTable, GuestRegion};
use super::error::{AttachError, attach_error};
use super::given::{GivenContainer, GivenGroup, GroupDomain};
use super::open_device::OpenDevice;
use super::way::VfioWay;
use crate::counters::Counters;
use crate::isolation::Host;
use iommufd_ioctls::{IommuFd, IommufdIoas};
use kvm_ioctls::DeviceFd;
use pvir_abi::{DeviceId, GuestPhysAddr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioDeviceFd, VfioError, VfioIommufd, VfioOps};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap};

/// The IOMMU domain of one VM, and the RAM that its devices reach by DMA, at its guest physical addresses.
///
/// It is one way to open devices ([`VfioPci::open`](super::VfioPci::open)). A VMM that opens its devices itself has no
/// need of it ([`VfioPci::from_open`](super::VfioPci::from_open)).
///
/// There are two ways ([`VfioWay`]), and a container has one of them for all its devices. By groups it is VFIO's own
/// container. By the devices' own files it is an IOAS of an iommufd: all devices, and whole groups, are in one IOAS.
///
/// RAM is mapped when the first device is opened, because the first group gives a container its IOMMU, and the last one
/// takes it away again, with all mappings. The mappings of an IOAS stay, but without a device nothing is pinned for them.
///
/// # Locked memory
/// A container's mappings count against the limit of the process (RLIMIT_MEMLOCK, `locked_vm` of the process). An
/// iommufd's count for the *user*: what all his processes have mapped by iommufd together, compared with the limit of
/// the process that maps. Who has CAP_IPC_LOCK is not limited in either.
pub struct Container {
    ops: Arc<dyn VfioOps>,
    opener: Opener,
    /// KVM's device, for groups whose files are given. An iommufd's devices have it with their opener.
    kvm: Option<Arc<DeviceFd>>,
    counters: Arc<Counters>,
    /// Held while a device is opened or given back, so that the table knows whether there is an IOMMU.
    dma: Mutex<DmaTable>,
}

impl Container {
    /// A container of VFIO's own, without devices, for the VM's RAM. `kvm_device` is the VM's KVM device of type
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
        let kvm_device = kvm_device.map(VfioDeviceFd::new_from_kvm);
        let own = kvm_device
            .as_ref()
            .map(|device| device.try_clone().and_then(VfioDeviceFd::to_kvm))
            .transpose()?;
        let ops = Arc::new(VfioContainer::new(kvm_device.map(Arc::new))?);
        let kvm = own.map(Arc::new);
        Ok(Self { ops, opener: Opener::Groups, kvm, counters, dma: Mutex::new(regions(ram)) })
    }

    /// An iommufd of its own with an IOAS, without devices, for the VM's RAM. `kvm_device` is given each device.
    ///
    /// # Errors
    /// The error of `vfio-ioctls`, if `/dev/iommu` cannot be opened or has no IOAS left.
    pub fn with_iommufd<B: Bitmap + Send + Sync + 'static>(
        ram: &GuestMemoryMmap<B>,
        kvm_device: Option<DeviceFd>,
        counters: Arc<Counters>,
    ) -> Result<Self, VfioError> {
        Self::of_iommufd(IommuFd::new().map_err(VfioError::NewVfioIommufd)?, ram, kvm_device, counters)
    }

    /// A container without devices, of a file that somebody else has opened and nobody uses: `/dev/vfio/vfio` or
    /// `/dev/iommu`, whichever `way` needs. It is for a process that can open none any more. Its devices come by
    /// [`VfioPci::open_given`](super::VfioPci::open_given) only, where `way` is [`VfioWay::Group`].
    ///
    /// # Errors
    /// The error of `vfio-ioctls`, if the file is another, or has no IOAS left.
    pub fn of_file<B: Bitmap + Send + Sync + 'static>(
        way: VfioWay,
        file: OwnedFd,
        ram: &GuestMemoryMmap<B>,
        kvm_device: Option<DeviceFd>,
        counters: Arc<Counters>,
    ) -> Result<Self, VfioError> {
        let file = File::from(file);
        if way == VfioWay::Cdev {
            return Self::of_iommufd(IommuFd::new_from_fd(file), ram, kvm_device, counters);
        }
        let ops = Arc::new(GivenContainer::new(file)?);
        let kvm = kvm_device.map(Arc::new);
        Ok(Self { ops, opener: Opener::Groups, kvm, counters, dma: Mutex::new(regions(ram)) })
    }

    fn of_iommufd<B: Bitmap + Send + Sync + 'static>(
        iommufd: IommuFd,
        ram: &GuestMemoryMmap<B>,
        kvm_device: Option<DeviceFd>,
        counters: Arc<Counters>,
    ) -> Result<Self, VfioError> {
        let iommufd = Arc::new(iommufd);
        let ioas = IommufdIoas::new(Arc::clone(&iommufd)).map_err(VfioError::NewVfioIommufd)?;
        counters.count_ioctl("IOMMU_IOAS_ALLOC");
        let container = Self::from_iommufd(iommufd, Arc::new(ioas), kvm_device, counters)?;
        Ok(Self { dma: Mutex::new(regions(ram)), ..container })
    }

    /// The way that is said: [`new`](Self::new) or [`with_iommufd`](Self::with_iommufd).
    ///
    /// # Errors
    /// Those of the two.
    pub fn by<B: Bitmap + Send + Sync + 'static>(
        way: VfioWay,
        ram: &GuestMemoryMmap<B>,
        kvm_device: Option<DeviceFd>,
        counters: Arc<Counters>,
    ) -> Result<Self, VfioError> {
        match way {
            VfioWay::Group => Self::new(ram, kvm_device, counters),
            VfioWay::Cdev => Self::with_iommufd(ram, kvm_device, counters),
        }
    }

    /// An IOAS that the VMM has. The VMM maps its RAM itself, or by [`map_region`](Self::map_region); no region may be
    /// mapped in both ways. Devices of the IOAS may be opened by either side. `kvm_device` is given each device that is
    /// opened here, and may be a duplicate of the VMM's.
    ///
    /// # Errors
    /// The error of `vfio-ioctls`.
    pub fn from_iommufd(
        iommufd: Arc<IommuFd>,
        ioas: Arc<IommufdIoas>,
        kvm_device: Option<DeviceFd>,
        counters: Arc<Counters>,
    ) -> Result<Self, VfioError> {
        let ops = Arc::new(VfioIommufd::new(Arc::clone(&iommufd), Some(Arc::clone(&ioas)), None)?);
        let kernel = Kernel { iommufd, ioas, kvm: kvm_device, counters: Arc::clone(&counters) };
        Ok(Self { ops, opener: Opener::Cdevs(Arc::new(kernel)), kvm: None, counters, dma: Mutex::default() })
    }

    /// A container of groups that the VMM has from `vfio-ioctls`. The VMM maps its RAM itself, or by
    /// [`map_region`](Self::map_region); no region may be mapped in both ways. Devices of it may be opened by either side.
    #[must_use]
    pub fn from_vfio(ops: Arc<dyn VfioOps>, counters: Arc<Counters>) -> Self {
        Self { ops, opener: Opener::Groups, kvm: None, counters, dma: Mutex::default() }
    }

    /// The way to its devices.
    #[must_use]
    pub fn way(&self) -> VfioWay {
        self.opener.way()
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

    /// Opens the device at `device`, with all RAM mapped for it.
    pub(super) fn open(self: &Arc<Self>, host: &Host, device: DeviceId) -> Result<Attachment, AttachError> {
        // Declared before what is opened: on failure that is dropped first, and still under the lock.
        let mut dma = self.dma();
        let opened = match &self.opener {
            Opener::Groups => {
                let opened = VfioDevice::new(&host.device_path(device), Arc::clone(&self.ops), false);
                Opened::OfGroup(opened.map_err(|error| attach_error(device, error))?)
            }
            Opener::Cdevs(kernel) => Opened::Cdev(cdev::open(kernel, host, device)?),
        };
        dma.attach(&self.domain()).map_err(|source| AttachError::Dma { device, source })?;
        drop(dma);
        Ok(Attachment { device: Some(opened), container: Arc::clone(self) })
    }

    /// The same with a file that somebody else has opened: the group's, or the device's own.
    pub(super) fn open_given(
        self: &Arc<Self>,
        host: &Host,
        device: DeviceId,
        file: File,
    ) -> Result<Attachment, AttachError> {
        let mut dma = self.dma();
        let opened = match &self.opener {
            Opener::Groups => {
                let container = self.descriptor().ok_or(AttachError::Vfio {
                    device,
                    operation: "putting a group that was given into a container of another kind",
                    source: VfioError::DowncastVfioOps,
                })?;
                let (is_empty, kvm, counters) = (!dma.has_devices(), self.kvm.as_ref(), &self.counters);
                let domain = GroupDomain { container, is_empty, kvm, counters };
                Opened::OfGivenGroup(GivenGroup::open(file, &domain, host, device)?)
            }
            Opener::Cdevs(kernel) => Opened::Cdev(cdev::bind(kernel, host, device, file)?),
        };
        dma.attach(&self.domain()).map_err(|source| AttachError::Dma { device, source })?;
        drop(dma);
        Ok(Attachment { device: Some(opened), container: Arc::clone(self) })
    }

    /// The descriptor of VFIO's container.
    fn descriptor(&self) -> Option<RawFd> {
        let ops = self.ops.as_any();
        let own = ops.downcast_ref::<VfioContainer>().map(AsRawFd::as_raw_fd);
        own.or_else(|| ops.downcast_ref::<GivenContainer>().map(AsRawFd::as_raw_fd))
    }

    fn dma(&self) -> MutexGuard<'_, DmaTable> {
        self.dma.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn domain(&self) -> DmaDomain<'_> {
        DmaDomain { ops: &*self.ops, way: self.way(), counters: &self.counters }
    }
}

fn regions<B: Bitmap + Send + Sync + 'static>(ram: &GuestMemoryMmap<B>) -> DmaTable {
    ram.iter().map(GuestRegion::new).collect()
}

/// How devices are opened.
enum Opener {
    Groups,
    Cdevs(Arc<Kernel>),
}

impl Opener {
    fn way(&self) -> VfioWay {
        match self {
            Self::Groups => VfioWay::Group,
            Self::Cdevs(_) => VfioWay::Cdev,
        }
    }
}

/// An open device.
enum Opened {
    OfGroup(VfioDevice),
    OfGivenGroup(GivenGroup),
    Cdev(BoundDevice<Kernel>),
}

/// A device that a container has opened. Its own descriptor is the last that is closed, because only then can it give
/// its group back.
pub(super) struct Attachment {
    device: Option<Opened>,
    container: Arc<Container>,
}

impl Attachment {
    /// The device, with another descriptor of its own.
    pub(super) fn open_device(self) -> io::Result<OpenDevice> {
        let open = match self.device.as_ref().ok_or(io::ErrorKind::NotFound)? {
            Opened::OfGroup(device) => OpenDevice::duplicate(descriptor::borrow(device))?,
            Opened::OfGivenGroup(group) => {
                OpenDevice::duplicate(group.device().ok_or(io::ErrorKind::NotFound)?.as_fd())?
            }
            Opened::Cdev(device) => OpenDevice::duplicate(device.file().as_fd())?,
        };
        Ok(open.keeping(self))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut dma = self.container.dma();
        drop(self.device.take());
        dma.detach(self.container.way());
    }
}
