#![expect(unsafe_code, reason = "a VMM that uses VFIO by its ioctls alone")]
//! Container, groups, DMA mappings and devices by the ioctls of linux/vfio.h, with no crate between.

use std::error::Error;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use pvir::HostDevice;
use pvir_host::vfio::{OpenDevice, VfioPci};
use vfio_bindings::bindings::vfio::{
    VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_TYPE1v2_IOMMU, vfio_iommu_type1_dma_map,
};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::ioctl_io_nr;

// linux/vfio.h: `_IO(VFIO_TYPE, VFIO_BASE + n)`.
ioctl_io_nr!(VFIO_SET_IOMMU, 0x3b, 102);
ioctl_io_nr!(VFIO_GROUP_SET_CONTAINER, 0x3b, 104);
ioctl_io_nr!(VFIO_GROUP_GET_DEVICE_FD, 0x3b, 106);
ioctl_io_nr!(VFIO_IOMMU_MAP_DMA, 0x3b, 113);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A VMM with a container, as soon as it has a device.
#[derive(Default)]
pub(crate) struct Vmm {
    container: Mutex<Option<Arc<File>>>,
    /// The device that it opens in place of any other.
    another: Option<String>,
}

impl Vmm {
    /// A VMM that opens the device at `bdf`, whichever is asked for.
    pub(crate) fn opening(bdf: &str) -> Self {
        Self { another: Some(bdf.to_owned()), ..Self::default() }
    }

    pub(crate) fn open(&self, wanted: &HostDevice<'_>) -> Result<VfioPci> {
        let bdf = self.another.clone().unwrap_or_else(|| wanted.address.to_string());
        let number = fs::read_link(Path::new("/sys/bus/pci/devices").join(&bdf).join("iommu_group"))?;
        let group = open(&Path::new("/dev/vfio").join(number.file_name().unwrap_or_default()))?;
        let container = self.container(&group, wanted.ram)?;
        let device = device_of(&group, &bdf)?;
        // The group leaves the container when its file is closed, and the container ends after it.
        let open = OpenDevice::from(device).keeping(group).keeping(container);
        let HostDevice { host, address, assigned, demand, counters, .. } = wanted;
        Ok(VfioPci::from_open(open, host, *address, assigned, *demand, counters)?)
    }

    /// Puts the group into the container. The first one brings the IOMMU, and all RAM is mapped in it.
    fn container(&self, group: &File, ram: &GuestMemoryMmap) -> Result<Arc<File>> {
        let mut known = self.container.lock().unwrap_or_else(PoisonError::into_inner);
        let container = match &*known {
            Some(container) => Arc::clone(container),
            None => Arc::new(open(Path::new("/dev/vfio/vfio"))?),
        };
        let number = container.as_raw_fd();
        // SAFETY: the kernel reads a descriptor's number at this address, which is one.
        outcome(unsafe { libc::ioctl(group.as_raw_fd(), VFIO_GROUP_SET_CONTAINER(), &raw const number) })?;
        if known.is_none() {
            // SAFETY: the argument is a number.
            outcome(unsafe { libc::ioctl(number, VFIO_SET_IOMMU(), VFIO_TYPE1v2_IOMMU) })?;
            map(&container, ram)?;
        }
        Ok(Arc::clone(known.insert(container)))
    }
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn map(container: &File, ram: &GuestMemoryMmap) -> Result<()> {
    for region in ram.iter() {
        let request = vfio_iommu_type1_dma_map {
            argsz: u32::try_from(size_of::<vfio_iommu_type1_dma_map>())?,
            flags: VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
            vaddr: region.as_ptr() as u64,
            iova: region.start_addr().raw_value(),
            size: region.len(),
        };
        // SAFETY: the kernel reads the request. The memory that it names is the VM's RAM, which the VMM has mapped until
        // it ends, and which vm-memory accesses by volatile copies only.
        outcome(unsafe { libc::ioctl(container.as_raw_fd(), VFIO_IOMMU_MAP_DMA(), &raw const request) })?;
    }
    Ok(())
}

fn device_of(group: &File, bdf: &str) -> Result<OwnedFd> {
    let name = CString::new(bdf)?;
    // SAFETY: the kernel reads a string that ends in a zero byte.
    let number =
        outcome(unsafe { libc::ioctl(group.as_raw_fd(), VFIO_GROUP_GET_DEVICE_FD(), name.as_ptr()) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn outcome(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
