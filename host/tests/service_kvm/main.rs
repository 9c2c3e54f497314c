//! The service over the machine's own KVM: a device in this process raises, real irqfds deliver, and the vector is
//! looked for in the local APIC of a vCPU that runs no code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ahead;
mod conduits;
mod emulated;
mod messages;
mod retire;
mod routing;
mod shared_routes;

use emulated::TableDevice;
use kvm_bindings::{
    KVM_CAP_MAX_VCPU_ID, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, KVM_MAX_CPUID_ENTRIES,
    KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, KVM_X2APIC_API_USE_32BIT_IDS, kvm_enable_cap,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use messages::MsiDevice;
use pvir_abi::{
    Bdf, CallFlags, DeviceId, EnableRecord, EntryRecord, GuestPhysAddr, Header, Operation, Pair, Status,
    Store, Version, X86Route,
};
use pvir_host::conduit;
use pvir_host::counters::Counters;
use pvir_host::kvm::{GsiRouting, MAX_GSI, VmDescriptor};
use pvir_host::service::{Config, Service};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const APIC_IDS: [u32; 3] = [0, 1, 300];
const PINS: u32 = 24;
/// GSIs behind the pins that are the VMM's own.
const OWN_GSIS: u32 = 8;
const BLOCK: u64 = 0x1000;
/// How long an interrupt may take. Far more than it does.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one that must not come is waited for.
const SILENCE: Duration = Duration::from_millis(30);

struct KvmFixture {
    vm: VmFd,
    routing: GsiRouting,
    service: Arc<Service>,
    ram: Arc<GuestMemoryMmap>,
    device: TableDevice,
    messages: MsiDevice,
    counters: Arc<Counters>,
    vcpus: Vec<VcpuFd>,
}

/// `None` where the machine has no KVM for it: said loudly, and no failure.
fn fixture() -> Option<KvmFixture> {
    fixture_with(None, 0)
}

/// With a second device, perhaps, and irqfds that may be armed ahead.
fn fixture_with(messages: Option<MsiDevice>, armed_ahead: u32) -> Option<KvmFixture> {
    fixture_on(Irqchip::Split, messages, armed_ahead)
}

/// Which interrupt controllers KVM has, besides the local APICs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Irqchip {
    /// None.
    Split,
    /// An I/O APIC and two PICs.
    Full,
}

fn fixture_on(irqchip: Irqchip, messages: Option<MsiDevice>, armed_ahead: u32) -> Option<KvmFixture> {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => {
            eprintln!("SKIP: /dev/kvm cannot be opened: {error}");
            return None;
        }
    };
    let vm = kvm.create_vm().unwrap();
    match irqchip {
        Irqchip::Split => enable(&vm, KVM_CAP_SPLIT_IRQCHIP, PINS.into()),
        Irqchip::Full => {
            if let Err(error) = vm.create_irq_chip() {
                eprintln!("SKIP: this KVM has no I/O APIC: {error}");
                return None;
            }
        }
    }
    let flags = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
    enable(&vm, KVM_CAP_X2APIC_API, flags.into());
    // Older kernels know no limit to set.
    let _ = vm.enable_cap(&capability(KVM_CAP_MAX_VCPU_ID, 301));
    let vcpus = APIC_IDS.map(|id| vcpu(&kvm, &vm, id)).into();
    let counters = Arc::new(Counters::new());
    let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap());
    let descriptor = VmDescriptor::of(&vm).unwrap();
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
    let conduits = conduit::open(&descriptor, conduit::hypercall_of(cpuid.as_slice()), &counters).unwrap();
    let config = Config::new(APIC_IDS.to_vec(), conduits)
        .with_first_gsi(PINS)
        .with_max_irtes(64)
        .with_max_irtes_per_device(64)
        .with_armed_ahead(armed_ahead);
    let routing = GsiRouting::new(descriptor, &counters);
    let router = Box::new(routing.router(PINS + OWN_GSIS..MAX_GSI, &counters).unwrap());
    let service = Arc::new(Service::new(&config, ram.clone(), router).unwrap());
    let raised = TableDevice::new(16);
    service.add_device(device(), Box::new(raised.clone())).unwrap();
    if let Some(messages) = &messages {
        service.add_device(msi_device(), Box::new(messages.clone())).unwrap();
    }
    let messages = messages.unwrap_or_default();
    let fixture = KvmFixture { vm, routing, service, ram, device: raised, messages, counters, vcpus };
    let asked = EnableRecord::request(Service::FEATURES, None);
    assert_eq!(fixture.call(Operation::ENABLE, &[asked]).0, Status::OK);
    Some(fixture)
}

fn device() -> DeviceId {
    DeviceId::new(0, Bdf::new(0, 1, 0).unwrap())
}

fn msi_device() -> DeviceId {
    DeviceId::new(0, Bdf::new(0, 2, 0).unwrap())
}

fn capability(cap: u32, argument: u64) -> kvm_enable_cap {
    let mut capability = kvm_enable_cap { cap, ..Default::default() };
    capability.args[0] = argument;
    capability
}

fn enable(vm: &VmFd, cap: u32, argument: u64) {
    vm.enable_cap(&capability(cap, argument)).unwrap();
}

/// A vCPU whose local APIC is in x2APIC mode and enabled by software, as a kernel has it.
fn vcpu(kvm: &Kvm, vm: &VmFd, apic_id: u32) -> VcpuFd {
    const X2APIC: u32 = 1 << 21;
    let vcpu = vm.create_vcpu(apic_id.into()).unwrap();
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
    cpuid.as_mut_slice().iter_mut().filter(|leaf| leaf.function == 1).for_each(|leaf| leaf.ecx |= X2APIC);
    vcpu.set_cpuid2(&cpuid).unwrap();
    let mut sregs = vcpu.get_sregs().unwrap();
    sregs.apic_base |= 1 << 11 | 1 << 10;
    vcpu.set_sregs(&sregs).unwrap();
    let mut lapic = vcpu.get_lapic().unwrap();
    // Spurious vector register: enabled by software, vector 0xff.
    for (offset, byte) in [(0xf0, 0xff), (0xf1, 0x01)] {
        lapic.regs[offset] = std::os::raw::c_char::from_ne_bytes([byte]);
    }
    vcpu.set_lapic(&lapic).unwrap();
    vcpu
}

impl KvmFixture {
    fn call<R: IntoBytes + FromBytes + Immutable + Clone>(
        &self,
        operation: Operation,
        records: &[R],
    ) -> (Status, Vec<R>) {
        let count = u32::try_from(records.len()).unwrap();
        let header = Header::request(Version::V1, operation, CallFlags::empty(), count);
        let after = GuestAddress(BLOCK + 64);
        self.ram.write_slice(header.as_bytes(), GuestAddress(BLOCK)).unwrap();
        self.ram.write_slice(records.as_bytes(), after).unwrap();
        let status = self.service.call(0, 0, GuestPhysAddr(BLOCK));
        let mut answer = records.to_vec();
        self.ram.read_slice(answer.as_mut_slice().as_mut_bytes(), after).unwrap();
        (status, answer)
    }

    fn one(&self, operation: Operation, record: EntryRecord) -> EntryRecord {
        let (status, answer) = self.call(operation, &[record]);
        assert_eq!((status, answer[0].status), (Status::OK, Status::OK), "{operation:?}");
        answer[0]
    }

    /// What the guest does with a pair: write it, then unmask.
    fn program(&self, index: u32, pair: Pair) {
        let memory = self.device.table().memory();
        let at = u64::from(index) * 16;
        memory.write(at, (pair.address & 0xffff_ffff) as u32).unwrap();
        memory.write(at + 4, (pair.address >> 32) as u32).unwrap();
        memory.write(at + 8, pair.data).unwrap();
        memory.write(at + 12, 0).unwrap();
    }

    /// Vectors that wait in the local APIC of each vCPU.
    fn requested(&self) -> Vec<(u32, u8)> {
        let of = |(id, vcpu): (&u32, &VcpuFd)| {
            let regs = vcpu.get_lapic().unwrap().regs;
            let bit = |vector: u8| {
                let offset = 0x200 + usize::from(vector / 32) * 16 + usize::from(vector % 32 / 8);
                regs[offset].to_ne_bytes()[0] >> (vector % 8) & 1 == 1
            };
            (0..=255).filter(|vector| bit(*vector)).map(|vector| (*id, vector)).collect::<Vec<_>>()
        };
        APIC_IDS.iter().zip(&self.vcpus).flat_map(of).collect()
    }

    /// The vCPUs have taken all that waited.
    fn take_requested(&self) {
        for vcpu in &self.vcpus {
            let mut lapic = vcpu.get_lapic().unwrap();
            (0..8).for_each(|word| lapic.regs[0x200 + word * 16..][..4].fill(0));
            vcpu.set_lapic(&lapic).unwrap();
        }
    }

    fn assert_arrives(&self, expected: &[(u32, u8)]) {
        patience::until(PATIENCE, || self.requested() == expected);
        assert_eq!(self.requested(), expected);
    }

    fn assert_nothing_more(&self, expected: &[(u32, u8)]) {
        std::thread::sleep(SILENCE);
        assert_eq!(self.requested(), expected);
    }

    fn ioctls(&self, name: &str) -> u64 {
        self.counters.ioctls().get(name).copied().unwrap_or(0)
    }
}

fn routed(index: u32, destination: u32, vector: u8) -> EntryRecord {
    EntryRecord::map(device(), Store::MSIX, index, X86Route::fixed(destination, vector).into())
}

#[test]
fn a_routed_interrupt_reaches_the_vcpu_also_with_a_large_id() {
    let Some(fixture) = fixture() else { return };
    for (index, destination, vector) in [(0, 0, 0x51), (1, 300, 0x52), (2, 1, 0xef)] {
        let mapped = fixture.one(Operation::MAP, routed(index, destination, vector));
        fixture.program(index, mapped.pair());
        fixture.device.raise(index);
    }
    fixture.assert_arrives(&[(0, 0x51), (1, 0xef), (300, 0x52)]);
}

#[test]
fn a_retarget_moves_the_interrupt_without_the_device() {
    let Some(fixture) = fixture() else { return };
    let mapped = fixture.one(Operation::MAP, routed(0, 0, 0x51));
    fixture.program(0, mapped.pair());
    let moved = fixture.one(Operation::RETARGET, routed(0, 300, 0x77).with_handle(mapped.handle));
    fixture.device.raise(0);
    fixture.assert_arrives(&[(300, 0x77)]);
    assert_eq!((moved.pair(), moved.handle), (mapped.pair(), mapped.handle));
}

#[test]
fn what_is_raised_while_parked_arrives_with_the_first_route() {
    let Some(fixture) = fixture() else { return };
    let mapped = fixture.one(Operation::MAP, EntryRecord::map_parked(device(), Store::MSIX, 0));
    fixture.program(0, mapped.pair());
    (0..3).for_each(|_| fixture.device.raise(0));
    fixture.assert_nothing_more(&[]);
    fixture.one(Operation::RETARGET, routed(0, 300, 0x66).with_handle(mapped.handle));
    fixture.assert_arrives(&[(300, 0x66)]);
    let parked = EntryRecord::map_parked(device(), Store::MSIX, 0).with_handle(mapped.handle);
    fixture.one(Operation::RETARGET, parked);
    fixture.device.raise(0);
    fixture.assert_nothing_more(&[(300, 0x66)]);
    fixture.one(Operation::RETARGET, routed(0, 1, 0x67).with_handle(mapped.handle));
    fixture.assert_arrives(&[(1, 0x67), (300, 0x66)]);
}

/// R2: KVM injects what was held from a work queue, which has perhaps read the old route when the entry is moved on.
#[test]
fn what_was_held_has_arrived_when_the_entry_has_moved_on() {
    let Some(fixture) = fixture() else { return };
    let mapped = fixture.one(Operation::MAP, EntryRecord::map_parked(device(), Store::MSIX, 0));
    fixture.program(0, mapped.pair());
    let parked = EntryRecord::map_parked(device(), Store::MSIX, 0).with_handle(mapped.handle);
    for round in 0..200 {
        fixture.device.raise(0);
        fixture.one(Operation::RETARGET, routed(0, 300, 0x66).with_handle(mapped.handle));
        fixture.one(Operation::RETARGET, routed(0, 1, 0x67).with_handle(mapped.handle));
        assert_eq!(fixture.requested(), [(300, 0x66)], "round {round}");
        fixture.one(Operation::RETARGET, parked);
        fixture.take_requested();
    }
    fixture.assert_nothing_more(&[]);
}

#[test]
fn an_unmapped_pair_is_dead() {
    let Some(fixture) = fixture() else { return };
    let mapped = fixture.one(Operation::MAP, routed(0, 0, 0x51));
    fixture.one(Operation::UNMAP, EntryRecord::query(device(), Store::MSIX, 0).with_handle(mapped.handle));
    fixture.program(0, mapped.pair());
    fixture.device.raise(0);
    fixture.assert_nothing_more(&[]);
    let again = fixture.one(Operation::MAP, routed(0, 0, 0x52));
    fixture.program(0, mapped.pair());
    fixture.device.raise(0);
    fixture.assert_nothing_more(&[]);
    fixture.program(0, again.pair());
    fixture.device.raise(0);
    fixture.assert_arrives(&[(0, 0x52)]);
}

#[test]
fn ten_entries_cost_one_routing_for_a_map_and_one_for_a_retarget() {
    let Some(fixture) = fixture() else { return };
    let (_, mapped) = fixture.call(Operation::MAP, &(0..10).map(|i| routed(i, 1, 0x40)).collect::<Vec<_>>());
    assert_eq!((fixture.ioctls("KVM_SET_GSI_ROUTING"), fixture.ioctls("KVM_IRQFD")), (1, 10));
    let moved: Vec<_> = mapped.iter().map(|r| routed(r.index, 0, 0x41).with_handle(r.handle)).collect();
    assert_eq!(fixture.call(Operation::RETARGET, &moved).0, Status::OK);
    assert_eq!((fixture.ioctls("KVM_SET_GSI_ROUTING"), fixture.ioctls("KVM_IRQFD")), (2, 10));
    let given_back: Vec<_> = mapped
        .iter()
        .map(|r| EntryRecord::query(device(), Store::MSIX, r.index).with_handle(r.handle))
        .collect();
    assert_eq!(fixture.call(Operation::UNMAP, &given_back).0, Status::OK);
    assert_eq!((fixture.ioctls("KVM_SET_GSI_ROUTING"), fixture.ioctls("KVM_IRQFD (de-assign)")), (3, 10));
}
