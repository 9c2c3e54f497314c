//! One PCI device behind VFIO: config space, BARs, capabilities.

mod bars;
mod config;
mod description;
mod hot_reset;
mod notice;
mod reset;

use super::container::{Attachment, Container};
use super::descriptor::Descriptor;
use super::error::AttachError;
use super::identity;
use super::irqs::Irqs;
use super::messages::KernelMessages;
use super::migration::{DeviceState, FeatureIoctls, Migration};
use super::open_device::{Keeper, OpenDevice};
use super::region::Region;
use crate::counters::Counters;
use crate::isolation::{Host, IsolationError, NotIsolated, RemappingUnit, validate_phantom};
use crate::pci::{MsiCapability, MsixCapability};
use config::BusMaster;
pub(crate) use description::Description;
pub use hot_reset::HotResetScope;
pub use notice::DeviceNotice;
use pvir_abi::{DeviceId, Refusal};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

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
    assigned: Vec<DeviceId>,
    msix: Option<MsixCapability>,
    msi: Option<MsiCapability>,
    dynamic: bool,
    resets: bool,
    bars: [Region; 6],
    config: Region,
    irqs: Irqs,
    /// Where the kernel returns the device's messages.
    messages: Option<KernelMessages>,
    /// Where the kernel's driver knows what the device holds inside.
    migration: Option<Migration<FeatureIoctls>>,
    bus_master: Mutex<BusMaster>,
    device: Arc<Descriptor>,
    /// Dropped last: what gives the group back can do so only when all descriptors of the device are closed.
    _keeper: Keeper,
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
        let unit = check(host, address, assigned, demand)?;
        Self::attached(container.open(host, address)?, container, host, address, unit, assigned)
    }

    /// The same with a file that somebody else has opened, for a process that can open none any more: the file of the
    /// device's IOMMU group, or the device's own, whichever the container's [way](Container::way) needs. Isolation is
    /// judged here all the same, and the file has to be that of the device at `address`.
    ///
    /// # Errors
    /// As for [`open`](Self::open); [`AttachError::OtherDevice`] if the file is another one. The file is then closed.
    pub fn open_given(
        container: &Arc<Container>,
        file: OwnedFd,
        host: &Host,
        address: DeviceId,
        assigned: &[DeviceId],
        demand: Demand,
    ) -> Result<Self, AttachError> {
        let unit = check(host, address, assigned, demand)?;
        let attachment = container.open_given(host, address, file.into())?;
        Self::attached(attachment, container, host, address, unit, assigned)
    }

    fn attached(
        attachment: Attachment,
        container: &Container,
        host: &Host,
        address: DeviceId,
        unit: RemappingUnit,
        assigned: &[DeviceId],
    ) -> Result<Self, AttachError> {
        let device = attachment.open_device().map_err(|error| failed(address, DUPLICATING, error))?;
        let description = Description::read(device, address, container.counters())?;
        Self::new(description, host, address, unit, assigned)
    }

    /// Takes a device that the VMM has opened itself. `address` is its address on the host, by which its isolation is
    /// judged, as in [`open`](Self::open). `assigned` are all host devices of this VM. `counters` counts the ioctls.
    ///
    /// From now on the device's INTx, MSI and MSI-X are the library's: the VMM may not use `VFIO_DEVICE_SET_IRQS` on them,
    /// and may not have started one before. Those by which the kernel reports errors and asks for the device stay the
    /// VMM's, unless it has them set by [`notify`](Self::notify). A reset is like one by an administrator
    /// (`docs/architecture.md`). Bus Master Enable is switched off here.
    ///
    /// # What is verified
    /// - The device is a PCI device, and its vendor and device id are those that sysfs shows at `address`.
    /// - A character device (`/dev/vfio/devices/vfioN`) is the one that sysfs has for `address`.
    /// - A device of a group is at `address` if the kernel says where it is: in the descriptor's `fdinfo` (Linux 6.18).
    ///   On an older kernel one interrupt of the device is started and stopped again, because the kernel names it after
    ///   the device in `/proc/interrupts`. A device without MSI and MSI-X has no such name, and there is nothing in
    ///   which it could harm another one.
    ///
    /// What cannot be verified is what the device reaches by DMA, and whether KVM knows the group: that is the VMM's.
    ///
    /// # Errors
    /// [`AttachError`]: as for [`open`](Self::open); [`AttachError::OtherDevice`] if the device is not that at
    /// `address`. The descriptor is then closed, and what was kept with it dropped.
    pub fn from_open(
        device: OpenDevice,
        host: &Host,
        address: DeviceId,
        assigned: &[DeviceId],
        demand: Demand,
        counters: &Counters,
    ) -> Result<Self, AttachError> {
        let unit = check(host, address, assigned, demand)?;
        let description = Description::read(device, address, counters)?;
        identity::check(&description, host, address)?;
        Self::new(description, host, address, unit, assigned)
    }

    fn new(
        description: Description,
        host: &Host,
        address: DeviceId,
        unit: RemappingUnit,
        assigned: &[DeviceId],
    ) -> Result<Self, AttachError> {
        let (msix, msi) = (description.msix(), description.msi());
        let Description { bars, config, dynamic, resets, irqs, device, keeper, .. } = description;
        let (host, assigned) = (host.clone(), assigned.to_vec());
        let migration = Migration::of(FeatureIoctls(Arc::clone(&device)))
            .map_err(|error| failed(address, "asking for migration (VFIO_DEVICE_FEATURE)", error))?;
        let pci = Self {
            address,
            unit,
            host,
            assigned,
            msix,
            msi,
            dynamic,
            resets,
            bars,
            config,
            irqs,
            messages: None,
            migration,
            bus_master: Mutex::default(),
            device,
            _keeper: keeper,
        };
        pci.check_table()?;
        pci.set_bus_master(false).map_err(|error| failed(address, "writing COMMAND", error))?;
        Ok(pci)
    }

    /// Has the device's messages asked of the kernel, by a feature of `VFIO_DEVICE_FEATURE` that is proposed and not
    /// merged, in place of being read from the device. `number` is the one that the running kernel has for it
    /// (`docs/kernel/`): it is never guessed, because any other feature may have it.
    ///
    /// What the kernel answers is validated as what a device answers.
    ///
    /// # Errors
    /// [`AttachError::Io`] with the kernel's errno: `ENOTTY` if the device has no feature of this number.
    pub fn with_message_feature(mut self, number: u16, counters: &Counters) -> Result<Self, AttachError> {
        let messages = KernelMessages::new(Arc::clone(&self.device), number, counters);
        let asking = "asking whether the kernel returns messages (VFIO_DEVICE_FEATURE)";
        self.messages = Some(messages.map_err(|error| failed(self.address, asking, error))?);
        Ok(self)
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

    /// What the device holds inside, where the kernel's driver knows it.
    pub(crate) fn state(&self) -> Option<&dyn DeviceState> {
        self.migration.as_ref().map(|migration| migration as &dyn DeviceState)
    }

    /// Whether MSI-X entries can be started one by one (`VFIO_IRQ_INFO_NORESIZE` clear).
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.dynamic
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

    /// The device's folder in sysfs.
    pub(crate) fn folder(&self) -> PathBuf {
        self.host.device_path(self.address)
    }

    /// How the kernel returns the device's messages, if it is to be asked for them.
    pub(crate) fn messages(&self) -> Option<&KernelMessages> {
        self.messages.as_ref()
    }

    pub(crate) fn irqs(&self) -> &Irqs {
        &self.irqs
    }
}

/// Validates what the host must fulfil, and tells which unit remaps the device's interrupts.
fn check(
    host: &Host,
    address: DeviceId,
    assigned: &[DeviceId],
    demand: Demand,
) -> Result<RemappingUnit, AttachError> {
    host.check_bound(address)?;
    match (host.check_group(address, assigned), demand) {
        (Err(IsolationError::SharedGroup { .. }), Demand::OfVfio) => {}
        (checked, _) => checked?,
    }
    if demand == Demand::Isolation {
        host.validate(address, assigned)
            .map_err(|reason| IsolationError::NotIsolated { device: address, reason })?;
    }
    Ok(host.unit(address)?)
}

const DUPLICATING: &str = "duplicating the descriptor";

fn failed(device: DeviceId, operation: &'static str, source: std::io::Error) -> AttachError {
    AttachError::Io { device, operation, source }
}
