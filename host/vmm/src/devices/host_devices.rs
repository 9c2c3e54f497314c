//! The devices of the host that a VM has.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use kvm_bindings::{kvm_create_device, kvm_device_type_KVM_DEV_TYPE_VFIO};
use kvm_ioctls::{DeviceFd, VmFd};
use pvir_abi::DeviceId;
use pvir_host::counters::Counters;
use pvir_host::function::{BarMapper, NewFunction, PciFunction};
use pvir_host::isolation::{DefectPolicy, Host, IsolationError};
use pvir_host::vfio::vfio_ioctls::VfioDeviceFd;
use pvir_host::vfio::{AttachError, Container, Demand, VfioPci, VfioWay};
use vm_memory::GuestMemoryMmap;

use super::host_files::HostFiles;
use super::interrupt_mode::{InterruptMode, Interrupts};
use super::notices::HostNotices;
use super::vfio_way::{self, WayChoice};
use crate::assembly::{Assembly, HostDevice};
use crate::device_spec::DeviceSpec;
use crate::vm::Vm;
use crate::vm::blank::PinnedOnce;

/// Whether the device can interrupt a guest at all. This VMM has no INTx: without MSI and MSI-X it cannot, which a driver
/// that polls may do without.
fn check_messages(device: DeviceId, has_messages: bool, mode: InterruptMode) -> Result<()> {
    if has_messages {
        return Ok(());
    }
    let what = format!("{device} has neither MSI nor MSI-X: it will never interrupt its guest");
    if mode == InterruptMode::Direct {
        bail!("{what}\nhelp: use another device; `--mode auto` goes on without its interrupts");
    }
    tracing::warn!("{what}");
    Ok(())
}

/// The host devices of a VM, which share one IOMMU domain.
pub(super) struct HostDevices {
    kvm: Arc<VmFd>,
    memory: GuestMemoryMmap,
    counters: Arc<Counters>,
    interrupts: Interrupts,
    way: WayChoice,
    /// All that the VM gets: a group is validated as a whole.
    assigned: BTreeSet<DeviceId>,
    container: Option<Arc<Container>>,
    /// The way of the container, or the one that it will have.
    known_way: Arc<OnceLock<VfioWay>>,
    /// KVM has one for each VM, for as long as it is open and longer.
    kvm_device: Option<VfioDeviceFd>,
    pins: Arc<PinnedOnce>,
}

impl HostDevices {
    pub(super) fn new(vm: &Vm, interrupts: Interrupts, way: WayChoice, specs: &[DeviceSpec]) -> Result<Self> {
        let mut assigned = BTreeSet::new();
        for spec in specs {
            if let DeviceSpec::Vfio(address) = spec {
                if !assigned.insert(*address) {
                    bail!("--device vfio={address} is given twice; help: a device has one place in a VM");
                }
            }
        }
        let known_way = match way {
            WayChoice::Auto => OnceLock::new(),
            WayChoice::Group => OnceLock::from(VfioWay::Group),
            WayChoice::Cdev => OnceLock::from(VfioWay::Cdev),
        };
        Ok(Self {
            kvm: Arc::clone(&vm.fd),
            memory: vm.memory.clone(),
            counters: Arc::clone(&vm.counters),
            interrupts,
            way,
            assigned,
            container: None,
            known_way: Arc::new(known_way),
            kvm_device: None,
            pins: Arc::clone(&vm.pins),
        })
    }

    /// The way to all of them: the user's choice, or that of the first device.
    pub(super) fn way(&self) -> &Arc<OnceLock<VfioWay>> {
        &self.known_way
    }

    /// Whether a device is none of the VM's, nor on its way out.
    pub(super) fn check_new(&self, address: DeviceId) -> Result<()> {
        if self.assigned.contains(&address) {
            bail!("vfio={address} is a device of this VM already\nhelp: a device has one place in a VM");
        }
        Ok(())
    }

    /// A device is no device of the VM any more, or never was.
    pub(super) fn forget(&mut self, address: DeviceId) {
        self.assigned.remove(&address);
    }

    /// Whether the guest is offered to program interrupts.
    pub(super) fn is_offered(&self) -> bool {
        self.interrupts.mode != InterruptMode::Trap
    }

    fn demand(&self) -> Demand {
        if self.interrupts.mode == InterruptMode::Direct { Demand::Isolation } else { Demand::OfVfio }
    }

    fn all_assigned(&self) -> Vec<DeviceId> {
        self.assigned.iter().copied().collect()
    }

    /// Opens the host's device at `address`, which the guest will find at `id`. Answers also with what the host says of it.
    pub(super) fn open(
        &mut self,
        address: DeviceId,
        id: DeviceId,
        mapper: Arc<dyn BarMapper>,
        assembly: &dyn Assembly,
    ) -> Result<(NewFunction, HostNotices)> {
        let host = Host::default();
        // What is wrong with the device comes before what is wrong with VFIO: it says more.
        host.check_bound(address).map_err(with_remedy)?;
        let (demand, assigned) = (self.demand(), self.all_assigned());
        let wanted = HostDevice {
            host: &host,
            address,
            assigned: &assigned,
            demand,
            ram: &self.memory,
            counters: &self.counters,
        };
        let pci = match assembly.host_device(&wanted).map_err(|error| anyhow!(error))? {
            Some(pci) => pci,
            None => {
                let container = self.container(&host)?;
                VfioPci::open(&container, &host, address, &assigned, demand).map_err(with_remedy)?
            }
        };
        self.pins.pin();
        self.finish(pci, id, mapper)
    }

    /// The same while the guest runs: with files that somebody else has opened. The VM's own assembly is not asked.
    /// On failure all is as before, but for [`assigned`](Self::forget).
    pub(super) fn plug(
        &mut self,
        address: DeviceId,
        files: HostFiles,
        id: DeviceId,
        mapper: Arc<dyn BarMapper>,
    ) -> Result<(NewFunction, HostNotices)> {
        let host = Host::default();
        host.check_bound(address).map_err(with_remedy)?;
        let HostFiles { way, device, domain } = files;
        if let Some(known) = self.known_way.get().filter(|known| **known != way) {
            bail!(
                "{address}: the way to this VM's host devices is {known} (--vfio), and {way} cannot be had beside it\n\
                 help: `pvir plug --vfio {known}`"
            );
        }
        self.assigned.insert(address);
        let container = match &self.container {
            Some(container) => Arc::clone(container),
            None => {
                let kvm_device = self.kvm_device()?;
                let made = Container::of_file(
                    way,
                    domain,
                    &self.memory,
                    Some(kvm_device),
                    Arc::clone(&self.counters),
                );
                Arc::new(made.with_context(|| format!("/{}, as it was given", way.file()))?)
            }
        };
        // Whoever resets the machine must know of it before a page is pinned.
        self.pins.pin();
        let pci =
            VfioPci::open_given(&container, device, &host, address, &self.all_assigned(), self.demand());
        let new = self.finish(pci.map_err(with_remedy)?, id, mapper)?;
        self.known_way.get_or_init(|| way);
        self.container.get_or_insert(container);
        Ok(new)
    }

    /// What an open device needs beside.
    fn finish(
        &self,
        pci: VfioPci,
        id: DeviceId,
        mapper: Arc<dyn BarMapper>,
    ) -> Result<(NewFunction, HostNotices)> {
        let address = pci.address();
        check_messages(address, pci.msix().is_some() || pci.msi().is_some(), self.interrupts.mode)?;
        let pci = match self.interrupts.message_feature {
            Some(number) => pci.with_message_feature(number, &self.counters).with_context(|| {
                format!(
                    "{address}: the kernel does not return messages by feature {number}\nhelp: leave --vfio-messages out"
                )
            })?,
            None => pci,
        };
        tell_what_is_hidden(&pci)?;
        let notices = HostNotices::of(&pci, id)?;
        Ok((PciFunction::vfio(Arc::new(pci), id, mapper)?, notices))
    }

    /// The container, made when the first device needs it, in one way for all.
    fn container(&mut self, host: &Host) -> Result<Arc<Container>> {
        if let Some(container) = &self.container {
            return Ok(Arc::clone(container));
        }
        warn_of_kernel_defects();
        let kvm_device = self.kvm_device()?;
        let way = self.way.resolve(host, &self.all_assigned());
        let container = Container::by(way, &self.memory, Some(kvm_device), Arc::clone(&self.counters));
        let container = container.with_context(|| {
            let denied = way.check_host(host).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
            format!("cannot open /{}\nhelp: {}", way.file(), vfio_way::remedy(way, denied))
        })?;
        tracing::info!("host devices are opened by {way} (--vfio)");
        self.known_way.get_or_init(|| way);
        Ok(Arc::clone(self.container.insert(Arc::new(container))))
    }

    /// Another descriptor of KVM's device, which is made when it is wanted first.
    fn kvm_device(&mut self) -> Result<DeviceFd> {
        let known = match self.kvm_device.take() {
            Some(known) => known,
            None => {
                self.counters.count_ioctl("KVM_CREATE_DEVICE");
                let mut request =
                    kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_VFIO, ..Default::default() };
                let made = self.kvm.create_device(&mut request).context(
                    "this KVM has no VFIO device (KVM_DEV_TYPE_VFIO)\nhelp: use a kernel with CONFIG_KVM_VFIO",
                )?;
                VfioDeviceFd::new_from_kvm(made)
            }
        };
        let another = known.try_clone().and_then(VfioDeviceFd::to_kvm);
        self.kvm_device = Some(known);
        another.context("cannot duplicate KVM's VFIO device")
    }
}

/// A driver that misses something in the guest has its reason here.
fn tell_what_is_hidden(pci: &VfioPci) -> Result<()> {
    let address = pci.address();
    let parts = pci.hidden_parts().with_context(|| format!("{address}: cannot read configuration space"))?;
    if !parts.is_empty() {
        let parts = parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(device = %address, "not shown to the guest: {parts}");
    }
    Ok(())
}

/// An error of the library, with the command of this program that mends what is wrong, where there is one.
pub(super) fn with_remedy(error: impl Into<AttachError>) -> anyhow::Error {
    match error.into() {
        error @ AttachError::Host(IsolationError::OtherDriver { device, .. }) => anyhow!(
            "{error}; help: `pvir bind {device}` says what gives it to vfio-pci, and does it with --yes"
        ),
        error @ AttachError::Host(IsolationError::MemberInUse { member, .. }) => {
            anyhow!("{error}: `pvir bind {member}` says how, and does it with --yes")
        }
        error => error.into(),
    }
}

/// Warns of known defects of the host's kernel that no VM of this program meets, and says why not. The kernel's number may
/// be wrong: distributions mend kernels without a new one.
fn warn_of_kernel_defects() {
    for defect in Host::default().defects() {
        if let DefectPolicy::Avoided(why) = defect.policy {
            tracing::warn!(
                "the host's kernel may have {} ({}); not met here: {why}",
                defect.record,
                defect.what
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use pvir_abi::Bdf;

    use super::*;

    #[test]
    fn a_device_without_messages_is_refused_where_direct_interrupts_are_demanded() {
        let device = DeviceId::new(0, Bdf::new(0, 6, 0).unwrap());
        let refused = check_messages(device, false, InterruptMode::Direct).unwrap_err().to_string();
        assert!(refused.starts_with("0000:00:06.0 has neither MSI nor MSI-X"), "{refused}");
        assert!(check_messages(device, false, InterruptMode::Auto).is_ok());
        assert!(check_messages(device, true, InterruptMode::Direct).is_ok());
    }

    #[test]
    fn a_device_of_another_driver_is_refused_with_the_command_that_binds_it() {
        let device = DeviceId::new(0, Bdf::new(0, 6, 0).unwrap());
        let error = IsolationError::OtherDriver { device, driver: Some("e1000".into()) };
        assert_eq!(
            with_remedy(error).to_string(),
            "0000:00:06.0: is bound to e1000, not to vfio-pci; help: `pvir bind 0000:00:06.0` says what gives it to \
             vfio-pci, and does it with --yes"
        );
        let (group, driver) = (3, "e1000".into());
        let error = IsolationError::MemberInUse { device, group, member: DeviceId::default(), driver };
        assert!(with_remedy(error).to_string().contains("`pvir bind 0000:00:00.0` says how"));
        assert!(
            with_remedy(IsolationError::NotFound(device)).to_string().starts_with("0000:00:06.0: no such")
        );
    }
}
