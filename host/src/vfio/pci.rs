//! One PCI device behind VFIO: config space, BARs, capabilities.

mod bars;

use super::container::Container;
use super::error::AttachError;
use super::irqs::Irqs;
use crate::isolation::{Host, IsolationError, NotIsolated, RemappingUnit, validate_phantom};
use crate::pci::{ConfigHeader, ENTRY_LEN, MsiCapability, MsixCapability};
use pvir_abi::{DeviceId, Refusal};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_NORESIZE, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_ioctls::{VfioDevice as Inner, VfioError};

/// COMMAND register, and its bits for memory decode and bus mastering.
const COMMAND: u64 = 0x04;
const MEMORY_DECODE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;

/// What the host must fulfil for a device to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// The guest may program the device: the remapping unit protects the host and all other devices.
    Isolation,
    /// VFIO's own conditions only. The guest may not program the device until [`VfioPci::isolated`] succeeds.
    OfVfio,
}

/// A PCI device of the host that this process has opened by VFIO.
pub struct VfioPci {
    address: DeviceId,
    unit: RemappingUnit,
    host: Host,
    /// The descriptor of `inner`, for reads and writes that keep errno. This and `irqs` are dropped before it: the last
    /// descriptor must be closed when it gives its group back.
    file: File,
    irqs: Irqs,
    inner: Inner,
    msix: Option<MsixCapability>,
    msi: Option<MsiCapability>,
    assigned: Vec<DeviceId>,
    _container: Arc<Container>,
}

impl VfioPci {
    /// Opens the host's device at `address`. `assigned` are all host devices of this VM, because an IOMMU group is
    /// validated as a whole.
    ///
    /// # Errors
    /// [`AttachError`]: the host does not fulfil `demand`, a file or VFIO fails, or the device's capabilities are
    /// malformed. The device is then not held.
    pub fn open(
        container: &Arc<Container>,
        host: &Host,
        address: DeviceId,
        assigned: &[DeviceId],
        demand: Demand,
    ) -> Result<Self, AttachError> {
        host.check_bound(address)?;
        match (host.check_group(address, assigned), demand) {
            (Err(IsolationError::SharedGroup { .. }), Demand::OfVfio) => {}
            (checked, _) => checked?,
        }
        if demand == Demand::Isolation {
            host.validate(address, assigned)
                .map_err(|reason| IsolationError::NotIsolated { device: address, reason })?;
        }
        let unit = host.unit(address)?;
        let inner = Inner::new(&host.device_path(address), Arc::clone(container.inner()) as _, false)
            .map_err(|error| attach_error(address, error))?;
        container.map_ram(address)?;
        Self::describe(container, host.clone(), address, unit, inner, assigned)
    }

    fn describe(
        container: &Arc<Container>,
        host: Host,
        address: DeviceId,
        unit: RemappingUnit,
        inner: Inner,
        assigned: &[DeviceId],
    ) -> Result<Self, AttachError> {
        let failed = |operation, source| AttachError::Io { device: address, operation, source };
        let file = duplicate(&inner).map_err(|error| failed("duplicating the descriptor", error))?;
        let for_irqs = duplicate(&inner).map_err(|error| failed("duplicating the descriptor", error))?;
        let mut device = Self {
            address,
            unit,
            host,
            inner,
            file,
            irqs: Irqs::new(for_irqs, container.counters()),
            msix: None,
            msi: None,
            assigned: assigned.to_vec(),
            _container: Arc::clone(container),
        };
        let mut config = [0; 256];
        device.config_read(0, &mut config).map_err(|error| failed("reading config space", error))?;
        device.msi = ConfigHeader(&config).msi();
        device.msix = ConfigHeader(&config).msix();
        device.check_table()?;
        device.set_bus_master(false).map_err(|error| failed("writing COMMAND", error))?;
        Ok(device)
    }

    /// The table and the pending bits must lie inside their BARs.
    fn check_table(&self) -> Result<(), AttachError> {
        let Some(msix) = self.msix else { return Ok(()) };
        let table = (msix.table_bar, msix.table_offset, u64::from(msix.entries) * ENTRY_LEN);
        let pending = (msix.pba_bar, msix.pba_offset, u64::from(msix.entries.div_ceil(64)) * 8);
        for (name, (bar, offset, len)) in [("MSI-X table", table), ("pending bit array", pending)] {
            let size = if bar < 6 { self.bar_size(bar) } else { 0 };
            if offset + len > size {
                let what = format!(
                    "the {name} ({len:#x} bytes at {offset:#x}) is not inside BAR {bar} ({size:#x} bytes)"
                );
                return Err(AttachError::Malformed { device: self.address, what });
            }
        }
        Ok(())
    }

    /// Segment and BDF of the device on the host.
    #[must_use]
    pub fn address(&self) -> DeviceId {
        self.address
    }

    /// The kind of remapping unit that remaps the device's interrupts.
    #[must_use]
    pub fn unit(&self) -> RemappingUnit {
        self.unit
    }

    /// The MSI-X capability, whose table and pending bits lie inside their BARs; `None` if the device has none.
    #[must_use]
    pub fn msix(&self) -> Option<&MsixCapability> {
        self.msix.as_ref()
    }

    /// The MSI capability; `None` if the device has none.
    #[must_use]
    pub fn msi(&self) -> Option<&MsiCapability> {
        self.msi.as_ref()
    }

    /// Whether MSI-X entries can be started one by one (`VFIO_IRQ_INFO_NORESIZE` clear).
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        let info = self.inner.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX);
        info.is_some_and(|info| info.flags & VFIO_IRQ_INFO_NORESIZE == 0)
    }

    /// Reads configuration space from byte `offset` on, as VFIO virtualizes it.
    ///
    /// # Errors
    /// The errno of reading the device's descriptor.
    pub fn config_read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, self.inner.get_region_offset(VFIO_PCI_CONFIG_REGION_INDEX) + offset)
    }

    /// Writes configuration space from byte `offset` on. VFIO decides which bits reach the device.
    ///
    /// # Errors
    /// The errno of writing the device's descriptor.
    pub fn config_write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.inner.get_region_offset(VFIO_PCI_CONFIG_REGION_INDEX) + offset)
    }

    /// Sets or clears Bus Master Enable, which lets the device do DMA and send messages. Memory decode stays on,
    /// because an access to a mapped BAR without it ends in SIGBUS, in this process as in the guest.
    ///
    /// # Errors
    /// The errno of reading or writing the COMMAND register.
    pub fn set_bus_master(&self, on: bool) -> io::Result<()> {
        let mut command = [0; 2];
        self.config_read(COMMAND, &mut command)?;
        let command = u16::from_le_bytes(command) | MEMORY_DECODE;
        let command = if on { command | BUS_MASTER } else { command & !BUS_MASTER };
        self.config_write(COMMAND, &command.to_le_bytes())
    }

    /// Validates again whether the device is isolated, because a host's settings can change.
    ///
    /// # Errors
    /// The first reason for which it is not.
    pub fn isolated(&self) -> Result<(), NotIsolated> {
        self.host.validate(self.address, &self.assigned)?;
        // Sysfs shows it to root only; VFIO does not let anybody switch it on (drivers/vfio/pci/vfio_pci_config.c).
        let mut config = [0; 256];
        self.config_read(0, &mut config).map_err(|error| NotIsolated {
            refusal: Refusal::POLICY,
            what: format!("{}: config space cannot be read: {error}", self.address),
            remedy: "see the host's kernel log".into(),
        })?;
        validate_phantom(self.address, &config)?;
        match self.host.check_group(self.address, &self.assigned) {
            Ok(()) => Ok(()),
            Err(error) => Err(Host::group_reason(&error)),
        }
    }

    pub(crate) fn irqs(&self) -> &Irqs {
        &self.irqs
    }

    /// The physical config space, which VFIO does not show: for the pair of a plain MSI.
    pub(crate) fn physical_config(&self) -> io::Result<[u8; 256]> {
        let mut config = [0; 256];
        File::open(self.host.device_path(self.address).join("config"))?.read_exact_at(&mut config, 0)?;
        Ok(config)
    }
}

fn duplicate(inner: &Inner) -> io::Result<File> {
    borrow(inner).try_clone_to_owned().map(File::from)
}

#[expect(unsafe_code, reason = "vfio-ioctls gives its descriptor as a number only")]
fn borrow(inner: &Inner) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `inner`, whose lifetime the result has.
    unsafe { BorrowedFd::borrow_raw(inner.as_raw_fd()) }
}

/// Translates VFIO's error into the reason that the host's user gets.
fn attach_error(device: DeviceId, error: VfioError) -> AttachError {
    match error {
        VfioError::ContainerSetIOMMU(errno) if errno.errno() == libc::EPERM => {
            IsolationError::NotIsolated { device, reason: Host::no_remapping() }.into()
        }
        VfioError::OpenGroup(source, group) => {
            AttachError::File { device, path: format!("cannot open /dev/vfio/{group}"), source }
        }
        source => AttachError::Vfio { device, operation: "opening it by VFIO", source },
    }
}
