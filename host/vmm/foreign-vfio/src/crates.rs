#![expect(unsafe_code, reason = "a VMM that maps its RAM for DMA by vfio-ioctls")]
//! Container and devices of the crate `vfio-ioctls`.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use pvir::HostDevice;
use pvir_abi::GuestPhysAddr;
use pvir_host::vfio::vfio_ioctls::{VfioContainer, VfioDevice};
use pvir_host::vfio::{Container, OpenDevice, VfioPci};
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where RAM is added that the guest does not have: above whatever it has, and inside of 39 bits.
const ADDED: u64 = 1 << 36;
const ADDED_LEN: usize = 2 << 20;

/// A VMM with a container, as soon as it has a device.
pub(crate) struct Vmm {
    /// Whether the library opens the devices.
    by_library: bool,
    container: Mutex<Option<Arc<VfioContainer>>>,
}

impl Vmm {
    /// A VMM that opens its devices itself.
    pub(crate) fn giving_objects() -> Self {
        Self { by_library: false, container: Mutex::default() }
    }

    /// A VMM that lets the library open devices in its container, and tells it of its RAM.
    pub(crate) fn giving_its_container() -> Self {
        Self { by_library: true, container: Mutex::default() }
    }

    pub(crate) fn open(&self, wanted: &HostDevice<'_>) -> Result<VfioPci> {
        let container = self.container()?;
        let HostDevice { host, address, assigned, demand, counters, ram, .. } = wanted;
        if self.by_library {
            let container = Arc::new(Container::from_vfio(container, Arc::clone(counters)));
            ram.iter().try_for_each(|region| container.map_region(region))?;
            // One that is given back at once: the IOMMU goes with it, and what is mapped.
            drop(VfioPci::open(&container, host, *address, assigned, *demand)?);
            let pci = VfioPci::open(&container, host, *address, assigned, *demand)?;
            change(&container, wanted)?;
            return Ok(pci);
        }
        let device =
            Arc::new(VfioDevice::new(&host.device_path(*address), Arc::clone(&container) as _, false)?);
        // SAFETY: the VMM keeps its RAM mapped until it ends, and vm-memory accesses it by volatile copies only.
        unsafe { container.vfio_map_guest_memory(*ram)? };
        let open = OpenDevice::of_vfio_ioctls(device)?;
        Ok(VfioPci::from_open(open, host, *address, assigned, *demand, counters)?)
    }

    fn container(&self) -> Result<Arc<VfioContainer>> {
        let mut known = self.container.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some() {
            return Err("one device is enough for this VMM".into());
        }
        Ok(Arc::clone(known.insert(Arc::new(VfioContainer::new(None)?))))
    }
}

/// RAM is added and removed while a device is open. What must fail does so by the kernel's word: so the mappings are real.
fn change(container: &Container, wanted: &HostDevice<'_>) -> Result<()> {
    for region in wanted.ram.iter() {
        let start = GuestPhysAddr(region.start_addr().raw_value());
        container.unmap_region(start, region.len())?;
        container.map_region(region)?;
    }
    let added = GuestRegionMmap::<()>::from_range(GuestAddress(ADDED), ADDED_LEN, None)?;
    container.map_region(&added)?;
    let again = container.map_region(&added);
    if again.as_ref().err().and_then(|error| error.source.raw_os_error()) != Some(libc::EEXIST) {
        return Err(format!("a region was mapped twice: {again:?}").into());
    }
    container.unmap_region(GuestPhysAddr(ADDED), ADDED_LEN as u64)?;
    container.map_region(&added)?;
    // The IOMMU's pages have 4096 bytes: VFIO refuses what is no multiple of them, and nothing may stay.
    let odd = GuestRegionMmap::<()>::from_range(GuestAddress(ADDED * 2 + 1), ADDED_LEN, None)?;
    let refused = container.map_region(&odd);
    if refused.as_ref().err().and_then(|error| error.source.raw_os_error()) != Some(libc::EINVAL) {
        return Err(format!("a region at an odd address was mapped: {refused:?}").into());
    }
    match container.unmap_region(GuestPhysAddr(ADDED * 2 + 1), ADDED_LEN as u64) {
        Err(error) if error.source.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => Err(format!("a region that VFIO refused was kept: {other:?}").into()),
    }
}
