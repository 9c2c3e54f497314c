//! `--device` becomes a function on the bus and a device of the service.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use kvm_bindings::{kvm_create_device, kvm_device_type_KVM_DEV_TYPE_VFIO};
use pvir_abi::{Bdf, DeviceId};
use pvir_host::device::Device;
use pvir_host::emulated::{EmulatedDevice, HandlePool, Shape};
use pvir_host::isolation::Host;
use pvir_host::service::Service;
use pvir_host::vfio::{Container, VfioDevice, VfioPci};

use super::emulated::EmulatedFunction;
use super::gate::{Gate, Window};
use super::scratch::Scratch;
use super::vfio::function::VfioFunction;
use crate::device_spec::DeviceSpec;
use crate::machine::memory;
use crate::machine::vm::Vm;
use crate::pci::bus::PciBus;
use crate::pci::function::{DevFn, PciFunction};

/// Both sides of a device.
struct Parts {
    function: Arc<dyn PciFunction>,
    /// Nothing for what has no interrupts.
    interrupts: Option<(Box<dyn Device>, Arc<Gate>)>,
}

/// Builds the bus with all devices, and gives them to the service.
pub(crate) fn all(vm: &Vm, service: &Service, specs: &[DeviceSpec]) -> Result<Arc<PciBus>> {
    let mut bus = PciBus::new(Arc::clone(&vm.slots), &memory::ranges_of(&vm.memory))?;
    let mut host = HostDevices::new(vm, specs)?;
    let mut gates = Vec::new();
    let mut handles = HandlePool::default();
    for spec in specs {
        let parts = match spec {
            DeviceSpec::Scratch => Parts { function: Arc::new(Scratch::new()?), interrupts: None },
            DeviceSpec::Emulated(shape) => emulated(vm, *shape, &mut handles)?,
            DeviceSpec::Vfio(address) => host.open(*address)?,
        };
        let name = parts.function.name();
        let place = bus.add(parts.function)?;
        tracing::info!(device = %name, %place, "device");
        if let Some((device, gate)) = parts.interrupts {
            service.add_device(id_of(place), device).with_context(|| format!("device {name}"))?;
            gates.push((gate, place));
        }
    }
    let bus = Arc::new(bus);
    for (gate, place) in gates {
        gate.bind(&bus, place);
    }
    for (id, judged) in service.isolation() {
        judged.map_err(|reason| {
            anyhow!("guest device {id}: direct programming of its interrupts is refused: {reason}")
        })?;
    }
    Ok(bus)
}

/// How guest and service name a function.
pub(crate) fn id_of(place: DevFn) -> DeviceId {
    DeviceId::new(0, Bdf(place.requester_id()))
}

fn emulated(vm: &Vm, shape: Shape, handles: &mut HandlePool) -> Result<Parts> {
    let gate = Arc::new(Gate::default());
    let ram = Arc::new(vm.memory.clone());
    let function = handles
        .take(&shape)
        .and_then(|handles| EmulatedFunction::new(shape, &handles, ram, Arc::clone(&gate)))
        .with_context(|| format!("--device emulated with {} interrupts", shape.interrupts()))?;
    let device = EmulatedDevice::new(Arc::clone(function.core()), Box::new(Window(Arc::clone(&gate))));
    Ok(Parts { function: Arc::new(function), interrupts: Some((Box::new(device), gate)) })
}

/// The host devices of the VM, which share one IOMMU domain.
struct HostDevices<'a> {
    vm: &'a Vm,
    /// All that the VM gets: a group is judged as a whole.
    assigned: Vec<DeviceId>,
    container: Option<Arc<Container>>,
}

impl<'a> HostDevices<'a> {
    fn new(vm: &'a Vm, specs: &[DeviceSpec]) -> Result<Self> {
        let mut assigned = BTreeSet::new();
        for spec in specs {
            if let DeviceSpec::Vfio(address) = spec {
                if !assigned.insert(*address) {
                    bail!("--device vfio={address} is given twice; help: a device has one place in a VM");
                }
            }
        }
        Ok(Self { vm, assigned: assigned.into_iter().collect(), container: None })
    }

    fn open(&mut self, address: DeviceId) -> Result<Parts> {
        let host = Host::default();
        // What is wrong with the device comes before what is wrong with VFIO: it says more.
        host.check_bound(address)?;
        let container = self.container()?;
        let pci = Arc::new(VfioPci::open(&container, &host, address, &self.assigned)?);
        let gate = Arc::new(Gate::default());
        let function = VfioFunction::new(Arc::clone(&pci), Arc::clone(&gate))?;
        let device = VfioDevice::new(pci, function.window())
            .with_context(|| format!("{address}: cannot map the BAR of the MSI-X table"))?;
        Ok(Parts { function: Arc::new(function), interrupts: Some((Box::new(device), gate)) })
    }

    /// The container, made when the first device needs it.
    fn container(&mut self) -> Result<Arc<Container>> {
        if let Some(container) = &self.container {
            return Ok(Arc::clone(container));
        }
        let (vm, counters) = (self.vm, &self.vm.counters);
        counters.count_ioctl("KVM_CREATE_DEVICE");
        let mut request =
            kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_VFIO, ..Default::default() };
        let kvm_device = vm.fd.create_device(&mut request).context(
            "this KVM has no VFIO device (KVM_DEV_TYPE_VFIO)\nhelp: use a kernel with CONFIG_KVM_VFIO",
        )?;
        let container = Container::new(vm.memory.clone(), Some(kvm_device), Arc::clone(counters)).context(
            "cannot open /dev/vfio/vfio\nhelp: load the modules vfio-pci and vfio_iommu_type1, and run as root",
        )?;
        Ok(Arc::clone(self.container.insert(Arc::new(container))))
    }
}
