//! A VM: guest RAM, the service over the fake KVM, functions with real configuration space and tables.
#![expect(unsafe_code, reason = "guest RAM is handed to the guest's driver, which reaches it by pointers")]

use crate::shared_table::SharedTableDevice;
use pvir_guest::abi::{
    Bdf, Conduits, CpuidLeaf, DeviceId, EventArea, Features, GuestPhysAddr, Operation, Pair, Status, Store,
    block_len,
};
use pvir_guest::fake::FakeMachine;
use pvir_guest::{
    BlockMemory, Conduit, Discovered, EnableOptions, EventMemory, Mask, Pvir, Remapping, discover_with,
};
use pvir_host::fake::{Delivery, Entry, FakeDevice, FakeKvm, SharedPlatform};
use pvir_host::service::{Config, Service};
use std::ptr::NonNull;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use x86_64::PhysAddr;

const FIRST_GSI: u32 = 24;
/// APIC ids of the vCPUs.
pub(crate) const APIC_IDS: [u32; 3] = [0, 1, 300];
/// Where the service's CPUID block stands; another hypervisor's stands before it.
const CPUID_BASE: u32 = 0x4000_0100;
/// CPUID.1:ECX bit 31.
const HYPERVISOR_PRESENT: u32 = 1 << 31;
/// Guest physical addresses of the request block and of the event area.
const BLOCK: u64 = 0x1_0000;
const EVENT_AREA: u64 = 0x4_0040;
const RAM_LEN: usize = 0x8_0000;

/// One function as the guest finds it.
pub(crate) struct Function {
    pub(crate) id: DeviceId,
    /// Configuration space, and the BAR with the MSI-X table.
    pub(crate) machine: Arc<FakeMachine>,
}

/// A VM that the guest has not enabled yet.
pub(crate) struct TestVm {
    pub(crate) service: Arc<Service>,
    pub(crate) platform: SharedPlatform,
    pub(crate) functions: Vec<Function>,
    ram: Arc<GuestMemoryMmap>,
}

/// The conduit of one vCPU.
pub(crate) struct Hypercalls {
    service: Arc<Service>,
    platform: SharedPlatform,
    ram: Arc<GuestMemoryMmap>,
    vcpu: usize,
}

impl Conduit for Hypercalls {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        let operation = self.ram.read_obj(GuestAddress(block.0 + 6)).unwrap();
        self.platform.lock().expect(Some(Operation(operation)));
        let status = self.service.call(self.vcpu, 0, block);
        let breaches = self.platform.lock().check();
        assert!(breaches.is_empty(), "{breaches:#?}");
        assert_eq!(self.service.last_status(self.vcpu), status, "statement C3");
        status
    }
}

pub(crate) fn config() -> Config {
    Config::new(APIC_IDS.to_vec(), Conduits::MSR | Conduits::PORT).with_first_gsi(FIRST_GSI)
}

impl TestVm {
    /// A VM without devices.
    pub(crate) fn empty(config: &Config) -> Self {
        let platform = SharedPlatform::new(FIRST_GSI);
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_LEN)]).unwrap());
        let kvm = Box::new(FakeKvm::new(platform.clone()));
        let service = Arc::new(Service::new(config, ram.clone(), kvm).unwrap());
        Self { service, platform, functions: Vec::new(), ram }
    }

    /// A VM with three functions: 0 has 64 MSI-X entries, of which its IMS entries are made; 1 has 8 MSI-X entries and 4
    /// IMS entries of its own; 2 has 8 messages of MSI.
    pub(crate) fn new() -> Self {
        Self::with(&config())
    }

    pub(crate) fn with(config: &Config) -> Self {
        let mut vm = Self::empty(config);
        vm.add_msix(64, FakeDevice::with_backed_ims);
        vm.add_msix(8, |device| device.with_own_ims(4));
        vm.add(1, |platform, number| FakeDevice::with_msi(platform, number, 8));
        vm
    }

    /// Adds a function with an MSI-X table of `entries`, its device refined by `refine`.
    pub(crate) fn add_msix(&mut self, entries: u32, refine: impl FnOnce(FakeDevice) -> FakeDevice) {
        self.add(entries, |platform, number| refine(FakeDevice::new(platform, number, entries)));
    }

    fn add(&mut self, entries: u32, device: impl FnOnce(SharedPlatform, u32) -> FakeDevice) {
        let number = u8::try_from(self.functions.len()).unwrap();
        let id = DeviceId::new(0, Bdf::new(0, number + 1, 0).unwrap());
        let machine = Arc::new(FakeMachine::new(id, entries));
        let fake = device(self.platform.clone(), number.into());
        let shared = SharedTableDevice::new(fake, number.into(), self.platform.clone(), Arc::clone(&machine));
        self.service.add_device(id, Box::new(shared)).unwrap();
        self.functions.push(Function { id, machine });
    }

    /// What the guest finds in CPUID.
    pub(crate) fn discovered(&self) -> Discovered {
        let leaves = self.service.discovery().to_leaves(CPUID_BASE);
        let leaf = |number: u32| match number {
            1 => CpuidLeaf { ecx: HYPERVISOR_PRESENT, ..CpuidLeaf::default() },
            _ => match number.checked_sub(CPUID_BASE) {
                Some(n @ 0..3) => leaves[n as usize],
                _ => CpuidLeaf { eax: number, ..CpuidLeaf::default() },
            },
        };
        discover_with(leaf).unwrap()
    }

    /// A session of vCPU 0, with a block for `records` records.
    pub(crate) fn negotiate(&self, records: u32) -> Pvir<Hypercalls> {
        let conduit = Hypercalls {
            service: Arc::clone(&self.service),
            platform: self.platform.clone(),
            ram: Arc::clone(&self.ram),
            vcpu: 0,
        };
        let len = block_len(records);
        let (pointer, address) = self.memory(BLOCK, len);
        // SAFETY: the bytes are guest RAM at this address, mapped as long as the conduit beside the block keeps its share
        // of the RAM, and nobody but the session and the service uses them.
        let block = unsafe { BlockMemory::new(pointer, len, address) }.unwrap();
        Pvir::negotiate(&self.discovered(), conduit, block).unwrap()
    }

    /// An enabled session that took everything but EPOCH.
    pub(crate) fn enable(&self) -> Remapping<Hypercalls> {
        let features = Service::FEATURES - Features::EPOCH;
        self.negotiate(512).enable(EnableOptions::new(features)).unwrap()
    }

    /// Guest RAM, for places of a test's own.
    pub(crate) fn ram(&self) -> Arc<GuestMemoryMmap> {
        Arc::clone(&self.ram)
    }

    pub(crate) fn event_memory(&self) -> EventMemory {
        let (pointer, address) = self.memory(EVENT_AREA, size_of::<EventArea>());
        // SAFETY: as for the block; the session reads the area only as long as it has its conduit.
        unsafe { EventMemory::new(pointer, address) }.unwrap()
    }

    fn memory(&self, at: u64, len: usize) -> (NonNull<u8>, PhysAddr) {
        assert!(self.ram.check_range(GuestAddress(at), len), "{len} bytes at {at:#x} are not RAM");
        let pointer = self.ram.get_host_address(GuestAddress(at)).unwrap();
        (NonNull::new(pointer).unwrap(), PhysAddr::new(at))
    }

    /// The device raises MSI-X entry `index`. Masked, it is pending; otherwise its message is sent.
    pub(crate) fn raise(&self, function: usize, index: u32) {
        let machine = &self.functions[function].machine;
        match machine.msix_message(index as usize) {
            Some(message) => self.send(function, message),
            None => machine.set_pending(index as usize),
        }
    }

    /// The device sends what was pending and is masked no more, as it does by itself on hardware.
    pub(crate) fn send_pending(&self, function: usize, index: u32) {
        let machine = &self.functions[function].machine;
        let message = machine.msix_message(index as usize);
        if let Some(message) = message.filter(|_| machine.take_pending(index as usize)) {
            self.send(function, message);
        }
    }

    /// The device raises message `number` of MSI, which is lost while it is disabled.
    pub(crate) fn raise_msi(&self, function: usize, number: u32) {
        if let Some(message) = self.functions[function].machine.msi_message(number) {
            self.send(function, message);
        }
    }

    /// A message on its way: it reaches the interrupt whose pair it carries if that is the sender's, and nobody
    /// otherwise.
    pub(crate) fn send(&self, function: usize, message: Pair) {
        let mut platform = self.platform.lock();
        let started = platform.footprint().started;
        let number = u32::try_from(function).unwrap();
        let meant = |(entry, (_, pair)): &(Entry, (bool, Pair))| entry.device == number && *pair == message;
        if let Some((entry, (masked, _))) = started.into_iter().find(meant) {
            // The mask is the table's, and was looked at.
            platform.guest_masks(entry, false);
            platform.raise(entry);
            if entry.store == Store::MSIX {
                platform.guest_masks(entry, masked);
            }
        }
    }

    /// What was injected since the last time: APIC id and vector.
    pub(crate) fn injected(&self) -> Vec<(u32, u8)> {
        let deliveries = self.platform.lock().take_deliveries();
        deliveries.into_iter().map(|Delivery { destination, vector }| (destination, vector)).collect()
    }

    /// Every route in the fake KVM, sorted: APIC id and vector.
    pub(crate) fn routes(&self) -> Vec<(u32, u8)> {
        let mut routes: Vec<_> = self.platform.lock().footprint().routes.into_values().collect();
        routes.sort_unstable();
        routes
    }

    /// Nothing is held for the guest: neither by the service nor in the kernel.
    pub(crate) fn assert_nothing_held(&self) {
        let held = self.platform.lock().footprint();
        assert!(held.routes.is_empty() && held.irqfds.is_empty() && held.started.is_empty(), "{held:?}");
        assert!(self.service.irtes().is_empty(), "{:?}", self.service.irtes());
    }

    /// The VM ends: nothing is left of it, not even a descriptor.
    pub(crate) fn assert_ends_clean(self) {
        self.platform.lock().expect(None);
        self.service.shut_down();
        self.assert_nothing_held();
        let mut platform = self.platform.lock();
        assert!(platform.check().is_empty(), "{:#?}", platform.check());
        assert_eq!(
            (platform.armed_ahead(), platform.open_eventfds()),
            (0, 0),
            "irqfds armed ahead, eventfds"
        );
    }

    /// Whether the host left MSI-X entry `index` masked in the table.
    pub(crate) fn mask(&self, function: usize, index: u32) -> Mask {
        match self.functions[function].machine.is_masked(index as usize) {
            true => Mask::Set,
            false => Mask::Clear,
        }
    }
}
