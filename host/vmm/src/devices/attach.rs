//! `--device` becomes a function on the bus and a device of the service.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use kvm_bindings::{kvm_create_device, kvm_device_type_KVM_DEV_TYPE_VFIO};
use pvir_abi::{Bdf, DeviceId};
use pvir_host::device::Device;
use pvir_host::emulation::{HandlePool, StoreLayout};
use pvir_host::isolation::{DefectPolicy, Host, IsolationError};
use pvir_host::mapping::RegionMap;
use pvir_host::service::Service;
use pvir_host::vfio::{AttachError, Container, Demand, VfioDevice, VfioPci};

use super::emulated::{EmulatedDevice, EmulatedFunction};
use super::gate::{Gate, GateWindow};
use super::interrupt_mode::InterruptMode;
use super::scratch::Scratch;
use super::trapped::TrappedStores;
use super::vfio::function::VfioFunction;
use crate::assembly::{Assembly, HostDevice};
use crate::device_spec::DeviceSpec;
use crate::pci::bus::PciBus;
use crate::pci::function::{DevFn, PciFunction};
use crate::vm::Vm;
use crate::vm::memory;

/// Both sides of a device.
struct Attached {
    function: Arc<dyn PciFunction>,
    /// Nothing for what has no interrupts.
    interrupts: Option<Interrupts>,
}

/// What a function's interrupts are made of.
struct Interrupts {
    device: Box<dyn Device>,
    gate: Arc<Gate>,
    stores: Arc<TrappedStores>,
    /// The memory of its MSI-X table, where that is ours.
    table: Option<Arc<RegionMap>>,
}

/// Builds the bus with all devices, and gives them to the service.
pub(crate) fn all(
    vm: &Vm,
    service: &Arc<Service>,
    mode: InterruptMode,
    specs: &[DeviceSpec],
    assembly: &dyn Assembly,
) -> Result<Arc<PciBus>> {
    let mut bus = PciBus::new(Arc::clone(&vm.slots), &memory::ranges_of(&vm.memory))?;
    let mut host = HostDevices::new(vm, mode, specs)?;
    let mut gates = Vec::new();
    let mut handles = HandlePool::default();
    for spec in specs {
        let parts = match spec {
            DeviceSpec::Scratch => Attached { function: Arc::new(Scratch::new()?), interrupts: None },
            DeviceSpec::Emulated(layout) => emulated(vm, *layout, &mut handles, service)?,
            DeviceSpec::Vfio(address) => host.open(*address, service, assembly)?,
        };
        let name = parts.function.name();
        let devfn = bus.add(parts.function)?;
        tracing::info!(device = %name, place = %devfn, "device");
        if let Some(Interrupts { device, gate, stores, table }) = parts.interrupts {
            let device = assembly.device(device, table.as_ref());
            service.add_device(id_of(devfn), device).with_context(|| format!("device {name}"))?;
            stores.bind(id_of(devfn));
            gates.push((gate, devfn));
        }
    }
    let bus = Arc::new(bus);
    for (gate, devfn) in gates {
        gate.bind(&bus, devfn);
    }
    if mode != InterruptMode::Trap {
        check_isolation(service, mode)?;
    }
    Ok(bus)
}

/// Whether the guest could enable pvir now. If not, that ends the run only where nothing else will do.
fn check_isolation(service: &Service, mode: InterruptMode) -> Result<()> {
    for (id, isolated) in service.isolation() {
        let Err(reason) = isolated else { continue };
        let refused = anyhow!("guest device {id}: direct programming of its interrupts is refused: {reason}");
        if mode == InterruptMode::Direct {
            return Err(refused);
        }
        tracing::warn!("{refused}; until then its guest's interrupts are trapped");
    }
    Ok(())
}

/// How guest and service name a function.
pub(crate) fn id_of(devfn: DevFn) -> DeviceId {
    DeviceId::new(0, Bdf(devfn.requester_id()))
}

fn emulated(
    vm: &Vm,
    layout: StoreLayout,
    handles: &mut HandlePool,
    service: &Arc<Service>,
) -> Result<Attached> {
    let gate = Arc::new(Gate::default());
    let ram = Arc::new(vm.memory.clone());
    let function = handles
        .take(&layout)
        .and_then(|handles| {
            EmulatedFunction::new(layout, &handles, ram, Arc::clone(&gate), Arc::clone(service))
        })
        .with_context(|| format!("--device emulated with {} interrupts", layout.interrupts()))?;
    let device = EmulatedDevice::new(Arc::clone(function.model()), Box::new(GateWindow(Arc::clone(&gate))));
    let stores = Arc::clone(function.stores());
    let table = function.model().table().map(|table| Arc::clone(table.memory()));
    let interrupts = Some(Interrupts { device: Box::new(device), gate, stores, table });
    Ok(Attached { function: Arc::new(function), interrupts })
}

/// The host devices of the VM, which share one IOMMU domain.
struct HostDevices<'a> {
    vm: &'a Vm,
    mode: InterruptMode,
    /// All that the VM gets: a group is validated as a whole.
    assigned: Vec<DeviceId>,
    container: Option<Arc<Container>>,
}

impl<'a> HostDevices<'a> {
    fn new(vm: &'a Vm, mode: InterruptMode, specs: &[DeviceSpec]) -> Result<Self> {
        let mut assigned = BTreeSet::new();
        for spec in specs {
            if let DeviceSpec::Vfio(address) = spec {
                if !assigned.insert(*address) {
                    bail!("--device vfio={address} is given twice; help: a device has one place in a VM");
                }
            }
        }
        Ok(Self { vm, mode, assigned: assigned.into_iter().collect(), container: None })
    }

    fn open(
        &mut self,
        address: DeviceId,
        service: &Arc<Service>,
        assembly: &dyn Assembly,
    ) -> Result<Attached> {
        let host = Host::default();
        // What is wrong with the device comes before what is wrong with VFIO: it says more.
        host.check_bound(address).map_err(with_remedy)?;
        let demand = if self.mode == InterruptMode::Direct { Demand::Isolation } else { Demand::OfVfio };
        let wanted = HostDevice {
            host: &host,
            address,
            assigned: &self.assigned,
            demand,
            ram: &self.vm.memory,
            counters: &self.vm.counters,
        };
        let pci = match assembly.host_device(&wanted).map_err(|error| anyhow!(error))? {
            Some(pci) => pci,
            None => {
                let container = self.container()?;
                VfioPci::open(&container, &host, address, &self.assigned, demand).map_err(with_remedy)?
            }
        };
        let pci = Arc::new(pci);
        let gate = Arc::new(Gate::default());
        let function = VfioFunction::new(Arc::clone(&pci), Arc::clone(&gate), Arc::clone(service))?;
        let device = VfioDevice::new(pci, Box::new(GateWindow(Arc::clone(&gate))))
            .with_context(|| format!("{address}: cannot map the BAR of the MSI-X table"))?;
        let stores = Arc::clone(function.stores());
        let interrupts = Some(Interrupts { device: Box::new(device), gate, stores, table: None });
        Ok(Attached { function: Arc::new(function), interrupts })
    }

    /// The container, made when the first device needs it.
    fn container(&mut self) -> Result<Arc<Container>> {
        if let Some(container) = &self.container {
            return Ok(Arc::clone(container));
        }
        warn_of_kernel_defects();
        let (vm, counters) = (self.vm, &self.vm.counters);
        counters.count_ioctl("KVM_CREATE_DEVICE");
        let mut request =
            kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_VFIO, ..Default::default() };
        let kvm_device = vm.fd.create_device(&mut request).context(
            "this KVM has no VFIO device (KVM_DEV_TYPE_VFIO)\nhelp: use a kernel with CONFIG_KVM_VFIO",
        )?;
        let container = Container::new(&vm.memory, Some(kvm_device), Arc::clone(counters)).context(
            "cannot open /dev/vfio/vfio\nhelp: load the modules vfio-pci and vfio_iommu_type1, and run as root",
        )?;
        Ok(Arc::clone(self.container.insert(Arc::new(container))))
    }
}

/// An error of the library, with the command of this program that mends what is wrong, where there is one.
fn with_remedy(error: impl Into<AttachError>) -> anyhow::Error {
    match error.into() {
        error @ AttachError::Host(IsolationError::OtherDriver { device, .. }) => anyhow!(
            "{error}; help: `pvir bind {device}` says what gives it to vfio-pci, and does it with --yes"
        ),
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
    use super::*;

    #[test]
    fn a_device_of_another_driver_is_refused_with_the_command_that_binds_it() {
        let device = DeviceId::new(0, Bdf::new(0, 6, 0).unwrap());
        let error = IsolationError::OtherDriver { device, driver: Some("e1000".into()) };
        assert_eq!(
            with_remedy(error).to_string(),
            "0000:00:06.0: is bound to e1000, not to vfio-pci; help: `pvir bind 0000:00:06.0` says what gives it to \
             vfio-pci, and does it with --yes"
        );
        assert!(
            with_remedy(IsolationError::NotFound(device)).to_string().starts_with("0000:00:06.0: no such")
        );
    }
}
