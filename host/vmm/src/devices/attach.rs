//! A device that is described becomes a function on the bus and a device of the service, and goes again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, Result, anyhow};
use pvir_abi::DeviceId;
use pvir_host::emulation::{HandlePool, StoreLayout};
use pvir_host::function::{NewFunction, PciFunction};
use pvir_host::mapping::RegionMap;
use pvir_host::service::Service;
use pvir_host::vfio::VfioWay;
use pvir_test_device::function_with_events;
use vm_memory::GuestMemoryMmap;

use super::host_devices::HostDevices;
use super::host_files::HostFiles;
use super::interrupt_mode::{InterruptMode, Interrupts};
use super::notices::HostNotices;
use super::scratch;
use super::vfio_way::WayChoice;
use crate::assembly::Assembly;
use crate::device_spec::DeviceSpec;
use crate::pci::bus::{PciBus, Place, PlacedBars, Slot};
use crate::sandbox::{Kind, Sandbox, kinds};
use crate::signals;
use crate::vm::Vm;
use crate::vm::memory;

/// The devices that a VM starts with.
pub(crate) struct Wanted<'a> {
    /// In the order of their places.
    pub(crate) specs: &'a [DeviceSpec],
    /// How those of the host are opened.
    pub(crate) way: WayChoice,
    /// Where they were in the machine that goes on here, the host bridge first. Otherwise each comes to the first place that
    /// is free.
    pub(crate) places: Option<&'a [Place]>,
}

/// Builds the bus with all devices, and gives them to the service. The maker makes those that come later.
pub(crate) fn all<'a>(
    vm: &Vm,
    service: &Arc<Service>,
    interrupts: Interrupts,
    Wanted { specs, way, places }: Wanted<'_>,
    assembly: &'a dyn Assembly,
    sandbox: &Sandbox,
) -> Result<DeviceMaker<'a>> {
    let bus = PciBus::new(Arc::clone(&vm.slots), &memory::ranges_of(&vm.memory), vm.address_bits)?;
    places.map_or(Ok(()), |places| bus.expect(places.to_vec())).context("--restore")?;
    let mut maker = DeviceMaker {
        memory: vm.memory.clone(),
        service: Arc::clone(service),
        bus: Arc::new(bus),
        assembly,
        sandbox: sandbox.clone(),
        handles: HandlePool::default(),
        taken: BTreeMap::new(),
        host: HostDevices::new(vm, interrupts, way, specs)?,
        notices: BTreeMap::new(),
    };
    for spec in specs {
        maker.make(spec, None, &kinds::DEVICE)?;
    }
    if interrupts.mode != InterruptMode::Trap {
        check_isolation(service, interrupts.mode)?;
    }
    Ok(maker)
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

/// Makes devices of a VM, and takes back what they have had.
pub(crate) struct DeviceMaker<'a> {
    memory: GuestMemoryMmap,
    service: Arc<Service>,
    bus: Arc<PciBus>,
    assembly: &'a dyn Assembly,
    sandbox: Sandbox,
    handles: HandlePool,
    /// The handles of each emulated device, by the serial number of its slot.
    taken: BTreeMap<u64, Range<u32>>,
    host: HostDevices,
    /// What the host says of its devices, by the same number.
    notices: BTreeMap<u64, HostNotices>,
}

/// A device on its way to the bus, with what it has taken.
struct Made {
    function: Arc<PciFunction>,
    handles: Option<Range<u32>>,
    notices: Option<HostNotices>,
}

impl DeviceMaker<'_> {
    /// The bus with the devices.
    pub(crate) fn bus(&self) -> &Arc<PciBus> {
        &self.bus
    }

    /// What the host says of its devices.
    pub(crate) fn notices(&self) -> impl Iterator<Item = &HostNotices> {
        self.notices.values()
    }

    /// The way to its host devices, from the moment on at which there is one.
    pub(crate) fn way(&self) -> &Arc<OnceLock<VfioWay>> {
        self.host.way()
    }

    /// Whether the VM does not have this host device.
    ///
    /// # Errors
    /// If it has.
    pub(crate) fn check_new(&self, address: DeviceId) -> Result<()> {
        self.host.check_new(address)
    }

    /// What the host says of the device of a slot.
    pub(crate) fn notices_of(&self, slot: &Slot) -> Option<&HostNotices> {
        self.notices.get(&slot.serial())
    }

    /// Makes a device at the next place that is free. Its threads are of the kind `threads`. A host device is opened by
    /// `files`, where they are given.
    ///
    /// # Errors
    /// What the device lacks. The VM is as before.
    pub(crate) fn make(
        &mut self,
        spec: &DeviceSpec,
        files: Option<HostFiles>,
        threads: &'static Kind,
    ) -> Result<Arc<Slot>> {
        let id = self.bus.next()?.id();
        let mapper = self.bus.mapper();
        let (made, placed) = match spec {
            DeviceSpec::Scratch(large) => {
                let function = scratch::function(id, *large, mapper)?;
                let placed = self.bus.place(&function.name(), function.bars())?;
                (Made { function, handles: None, notices: None }, placed)
            }
            DeviceSpec::Emulated(layout) => {
                let handles = self.handles.take(layout).with_context(|| described(*layout))?;
                let new = self.emulated(*layout, &handles, id, threads);
                let attached = new.and_then(|(new, table)| self.attach(new, table.as_ref()));
                match attached {
                    Ok((function, placed)) => {
                        (Made { function, handles: Some(handles), notices: None }, placed)
                    }
                    Err(error) => {
                        self.handles.give_back(handles);
                        return Err(error);
                    }
                }
            }
            DeviceSpec::Vfio(address) => {
                let opened = match files {
                    Some(files) => self.host.plug(*address, files, id, mapper),
                    None => self.host.open(*address, id, mapper, self.assembly),
                };
                let attached = opened.and_then(|(new, notices)| Ok((self.attach(new, None)?, notices)));
                let ((function, placed), notices) = attached.inspect_err(|_| self.host.forget(*address))?;
                (Made { function, handles: None, notices: Some(notices) }, placed)
            }
        };
        let Made { function, handles, notices } = made;
        let registers = self.assembly.registers(Arc::<PciFunction>::clone(&function));
        let host_address = function.host_address();
        let added = self.bus.add(function, registers, placed);
        let slot =
            added.inspect_err(|_| host_address.iter().for_each(|address| self.host.forget(*address)))?;
        let serial = slot.serial();
        self.taken.extend(handles.map(|handles| (serial, handles)));
        self.notices.extend(notices.map(|notices| (serial, notices)));
        tracing::info!(device = %slot.function().name(), place = %slot.devfn(), "device");
        Ok(slot)
    }

    /// Warns if the guest cannot program a device's interrupts now. `--mode direct` has refused such a device already.
    pub(crate) fn tell_isolation(&self, slot: &Slot) {
        let of_slot =
            |(id, isolated): (DeviceId, Result<(), _>)| isolated.err().filter(|_| id == slot.devfn().id());
        let reason = self.service.isolation().into_iter().find_map(of_slot);
        if let Some(reason) = reason.filter(|_| self.host.is_offered()) {
            let place = slot.devfn();
            tracing::warn!(
                "guest device {place}: direct programming of its interrupts is refused: {reason}; until then they are \
                 trapped"
            );
        }
    }

    /// Takes back what a device has had that was [taken](PciBus::take) from the bus and from the service. Nobody else has
    /// it any more.
    pub(crate) fn unmake(&mut self, slot: Slot) {
        self.bus.free(slot.placed());
        let serial = slot.serial();
        self.notices.remove(&serial);
        let name = slot.function().name();
        let place = slot.devfn();
        let host_address = slot.function().host_address();
        drop(slot);
        host_address.iter().for_each(|address| self.host.forget(*address));
        if let Some(handles) = self.taken.remove(&serial) {
            self.handles.give_back(handles);
        }
        tracing::info!(device = %name, %place, "device is gone");
    }

    /// Gives the service the device of a function that has room on the bus.
    fn attach(
        &self,
        new: NewFunction,
        table: Option<&Arc<RegionMap>>,
    ) -> Result<(Arc<PciFunction>, PlacedBars)> {
        let name = new.name();
        let placed = self.bus.place(&name, new.bars())?;
        let new = new.map_device(|device| self.assembly.device(device, table));
        match new.attach(&self.service).with_context(|| format!("device {name}")) {
            Ok(function) => Ok((function, placed)),
            Err(error) => {
                self.bus.free(&placed);
                Err(error)
            }
        }
    }

    fn emulated(
        &self,
        layout: StoreLayout,
        handles: &Range<u32>,
        id: DeviceId,
        threads: &'static Kind,
    ) -> Result<(NewFunction, Option<Arc<RegionMap>>)> {
        let ram = Arc::new(self.memory.clone());
        let (sandbox, service, mapper) = (&self.sandbox, &self.service, self.bus.mapper());
        let make = || function_with_events(id, layout, handles, ram, mapper, service);
        // Its threads take no signals, as this one does once the guest runs.
        let start = || {
            signals::leave_to_main_thread();
            sandbox.start_within(threads, make)
        };
        let started = thread::scope(|scope| {
            let starter = thread::Builder::new().name("device".into()).spawn_scoped(scope, start);
            starter
                .context("cannot start a thread")?
                .join()
                .map_err(|_| anyhow!("making a device panicked"))?
        });
        started?.with_context(|| described(layout))
    }
}

fn described(layout: StoreLayout) -> String {
    format!("--device emulated with {} interrupts", layout.interrupts())
}
