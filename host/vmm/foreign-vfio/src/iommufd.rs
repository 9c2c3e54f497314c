#![expect(unsafe_code, reason = "a VMM that uses VFIO and iommufd by their ioctls alone")]
//! A VMM with an iommufd and an IOAS of its own.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use pvir::HostDevice;
use pvir_host::vfio::iommufd_ioctls::{IommuFd, IommufdIoas};
use pvir_host::vfio::vfio_ioctls::{VfioIommufd, VfioOps};
use pvir_host::vfio::{Container, OpenDevice, VfioPci};
use vfio_bindings::bindings::vfio::{vfio_device_attach_iommufd_pt, vfio_device_bind_iommufd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::ioctl_io_nr;

// linux/vfio.h: `_IO(VFIO_TYPE, VFIO_BASE + 18)` and the one after it.
ioctl_io_nr!(VFIO_DEVICE_BIND_IOMMUFD, 0x3b, 118);
ioctl_io_nr!(VFIO_DEVICE_ATTACH_IOMMUFD_PT, 0x3b, 119);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A VMM with an IOAS, as soon as it has a device.
pub(crate) struct Vmm {
    /// Whether the library opens the devices.
    by_library: bool,
    domain: Mutex<Option<Arc<Domain>>>,
}

struct Domain {
    iommufd: Arc<IommuFd>,
    ioas: Arc<IommufdIoas>,
    container: Arc<Container>,
}

impl Vmm {
    /// A VMM that opens its devices itself.
    pub(crate) fn giving_the_device() -> Self {
        Self { by_library: false, domain: Mutex::default() }
    }

    /// A VMM that lets the library open devices in its IOAS.
    pub(crate) fn giving_its_ioas() -> Self {
        Self { by_library: true, domain: Mutex::default() }
    }

    pub(crate) fn open(&self, wanted: &HostDevice<'_>) -> Result<VfioPci> {
        let domain = self.domain(wanted)?;
        let HostDevice { host, address, assigned, demand, counters, .. } = wanted;
        if self.by_library {
            // One that is given back at once: the mappings stay.
            drop(VfioPci::open(&domain.container, host, *address, assigned, *demand)?);
            return Ok(VfioPci::open(&domain.container, host, *address, assigned, *demand)?);
        }
        let device = bind(&domain.iommufd, &address.to_string())?;
        attach(&device, &domain.ioas)?;
        let open = OpenDevice::from(std::os::fd::OwnedFd::from(device)).keeping(domain);
        Ok(VfioPci::from_open(open, host, *address, assigned, *demand, counters)?)
    }

    fn domain(&self, wanted: &HostDevice<'_>) -> Result<Arc<Domain>> {
        let mut known = self.domain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(domain) = &*known {
            return Ok(Arc::clone(domain));
        }
        let iommufd = Arc::new(IommuFd::new()?);
        let ioas = Arc::new(IommufdIoas::new(Arc::clone(&iommufd))?);
        map(&iommufd, &ioas, wanted.ram)?;
        let counters = Arc::clone(wanted.counters);
        let container = Container::from_iommufd(Arc::clone(&iommufd), Arc::clone(&ioas), None, counters)?;
        Ok(Arc::clone(known.insert(Arc::new(Domain { iommufd, ioas, container: Arc::new(container) }))))
    }
}

/// Maps all RAM, before there is a device.
fn map(iommufd: &Arc<IommuFd>, ioas: &Arc<IommufdIoas>, ram: &GuestMemoryMmap) -> Result<()> {
    let mapper = VfioIommufd::new(Arc::clone(iommufd), Some(Arc::clone(ioas)), None)?;
    for region in ram.iter() {
        let (start, len) = (region.start_addr().raw_value(), usize::try_from(region.len())?);
        // SAFETY: the VMM keeps its RAM mapped until it ends, and vm-memory accesses it by volatile copies only.
        unsafe { VfioOps::vfio_dma_map(&mapper, start, len, region.as_ptr())? };
    }
    Ok(())
}

fn bind(iommufd: &IommuFd, bdf: &str) -> Result<File> {
    let folder = Path::new("/sys/bus/pci/devices").join(bdf).join("vfio-dev");
    let name = fs::read_dir(folder)?.next().ok_or("the device has no file of its own")??.file_name();
    let device = OpenOptions::new().read(true).write(true).open(Path::new("/dev/vfio/devices").join(name))?;
    let mut request = vfio_device_bind_iommufd {
        argsz: u32::try_from(size_of::<vfio_device_bind_iommufd>())?,
        iommufd: iommufd.as_raw_fd(),
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes at most `argsz` bytes at this address, which the request has.
    outcome(unsafe { libc::ioctl(device.as_raw_fd(), VFIO_DEVICE_BIND_IOMMUFD(), &raw mut request) })?;
    Ok(device)
}

fn attach(device: &File, ioas: &IommufdIoas) -> Result<()> {
    let mut request = vfio_device_attach_iommufd_pt {
        argsz: u32::try_from(size_of::<vfio_device_attach_iommufd_pt>())?,
        pt_id: ioas.id(),
        ..Default::default()
    };
    // SAFETY: as for BIND.
    outcome(unsafe { libc::ioctl(device.as_raw_fd(), VFIO_DEVICE_ATTACH_IOMMUFD_PT(), &raw mut request) })?;
    Ok(())
}

/// Keeps a device bound until stdin ends.
pub(crate) fn hold(bdf: &str) -> Result<()> {
    let iommufd = IommuFd::new()?;
    let _device = bind(&iommufd, bdf)?;
    println!("bound");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn outcome(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
