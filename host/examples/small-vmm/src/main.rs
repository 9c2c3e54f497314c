#![expect(unsafe_code, reason = "KVM is given memory of this process, which the guest then reads and writes")]
//! The smallest VMM that embeds `pvir-host`: kvm-ioctls, a PVH kernel, one PCI device. `docs/embedding.md` explains it.

use kvm_bindings::*;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_start_info};
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use pvir_abi::{Bdf, DeviceId};
use pvir_host::conduit::{self, VcpuConduits};
use pvir_host::counters::Counters;
use pvir_host::emulation::{HandlePool, StoreLayout};
use pvir_host::function::{BarMapper, GuestAccess, MappedPart, PciFunction};
use pvir_host::kvm::{GsiRouting, MAX_GSI, VmDescriptor};
use pvir_host::service::{Config, PrearmThread, Service};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const RAM: usize = 256 << 20;
const CPUS: u32 = 2;
/// Pins of the I/O APIC, which has the first GSIs.
const PINS: u32 = 24;
/// Where BARs go, each with a MiB of its own.
const BARS: u64 = 0xd000_0000;
const START_INFO: u64 = 0x6000;
const MEMORY_MAP: u64 = 0x7000;
const COMMAND_LINE: u64 = 0x2_0000;

/// What all vCPUs reach.
struct Machine {
    vm: Arc<VmFd>,
    service: Arc<Service>,
    counters: Counters,
    device: Arc<PciFunction>,
    pci_address: AtomicU32,
}

/// Maps parts of BARs into the guest: one memory slot of KVM for each.
struct Slots {
    vm: Arc<VmFd>,
    /// By guest physical address: the number of the slot, and the part, which keeps its memory mapped here.
    mapped: Mutex<BTreeMap<u64, (u32, MappedPart)>>,
}

impl Slots {
    fn set(&self, slot: u32, address: u64, size: u64, part: &MappedPart) -> io::Result<()> {
        let flags = if part.access() == GuestAccess::ReadOnly && size > 0 { KVM_MEM_READONLY } else { 0 };
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: address,
            memory_size: size,
            userspace_addr: part.host_address(),
        };
        // SAFETY: the memory stays mapped here as long as the part lives, which is kept in `mapped` until its slot is gone.
        unsafe { self.vm.set_user_memory_region(region) }.map_err(Into::into)
    }
}

impl BarMapper for Slots {
    fn map(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        // Slot 0 is RAM.
        let free = (1..).find(|slot| mapped.values().all(|(used, _)| used != slot)).unwrap_or(u32::MAX);
        self.set(free, address, part.size(), part)?;
        mapped.insert(address, (free, part.clone()));
        Ok(())
    }

    fn unmap(&self, address: u64, part: &MappedPart) -> io::Result<()> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((slot, _)) = mapped.get(&address) {
            self.set(*slot, address, 0, part)?;
            mapped.remove(&address);
        }
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let kernel = arguments.next().ok_or("usage: pvir-small-vmm KERNEL [WORDS...]")?;
    let words: Vec<String> = arguments.chain(["cpus=0,1".to_owned()]).collect();

    // A VM with a split irqchip and 32-bit APIC ids, and its RAM.
    let kvm = Kvm::new()?;
    let vm = Arc::new(kvm.create_vm()?);
    for (cap, arg) in [(KVM_CAP_SPLIT_IRQCHIP, PINS), (KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS)] {
        vm.enable_cap(&kvm_enable_cap { cap, args: [arg.into(), 0, 0, 0], ..Default::default() })?;
    }
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), RAM)])?;
    let region = kvm_userspace_memory_region {
        memory_size: RAM as u64,
        userspace_addr: ram.get_host_address(GuestAddress(0))? as u64,
        ..Default::default()
    };
    // SAFETY: the RAM is mapped here for as long as this process lives: `ram` is dropped after the vCPUs have ended.
    unsafe { vm.set_user_memory_region(region)? };

    // 1. The service, with the conduits that work here.
    let counters = Counters::new();
    let descriptor = VmDescriptor::of(&vm)?;
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?.as_slice().to_vec();
    let conduits = conduit::open(&descriptor, conduit::hypercall_of(&cpuid), &counters)?;
    let router = GsiRouting::new(descriptor, &counters).router(PINS..MAX_GSI, &counters)?;
    let config = Config::new((0..CPUS).collect(), conduits).with_armed_ahead(64);
    let service = Arc::new(Service::new(&config, Arc::new(ram.clone()), Box::new(router))?);
    let _prearm = PrearmThread::start(Arc::clone(&service))?;

    // 2. A device, at 00:01.0.
    let id = DeviceId::new(0, Bdf::new(0, 1, 0).ok_or("no such BDF")?);
    let layout = StoreLayout::msix(16)?;
    let handles = HandlePool::default().take(&layout)?;
    let slots = Arc::new(Slots { vm: Arc::clone(&vm), mapped: Mutex::default() });
    let dma = Arc::new(ram.clone());
    let (new, _) = pvir_test_device::function_with_events(id, layout, &handles, dma, slots, &service)?;
    let device = new.attach(&service)?;
    for (address, (bar, _)) in (BARS..).step_by(1 << 20).zip(device.bars()) {
        device.set_bar_address(bar, address)?;
    }

    // 3. What CPUID says.
    conduit::hide_kvm_hypercalls(&mut cpuid, conduits);
    conduit::add_signature_block(&mut cpuid, service.discovery()).ok_or("no free block of CPUID")?;

    let entry = load(&ram, &kernel, &words.join(" "))?;
    let machine = &Machine { vm, service, counters, device, pci_address: AtomicU32::new(0) };
    let vcpus = (0..CPUS).map(|index| vcpu(machine, &cpuid, index, entry)).collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        for (index, vcpu) in vcpus.into_iter().enumerate() {
            scope.spawn(move || {
                let ended = run(machine, vcpu, index);
                // 5. Everything is given back. The others would wait for a vCPU that failed, so all of them end.
                machine.service.shut_down();
                std::process::exit(ended.unwrap_or_else(|error| {
                    _ = writeln!(io::stderr(), "vCPU {index}: {error}");
                    3
                }))
            });
        }
    });
    Ok(())
}

/// Puts the kernel into memory with its start info ("x86/HVM direct boot ABI", version 1). Gives the entry point.
fn load(ram: &GuestMemoryMmap, kernel: &str, words: &str) -> Result<u64, Failure> {
    let loaded = Elf::load(ram, None, &mut std::fs::File::open(kernel)?, None)?;
    let PvhBootCapability::PvhEntryPresent(entry) = loaded.pvh_boot_cap else {
        return Err(format!("{kernel} has no PVH entry point").into());
    };
    ram.write_slice(words.as_bytes(), GuestAddress(COMMAND_LINE))?;
    let usable = |addr, size| hvm_memmap_table_entry { addr, size, type_: 1, ..Default::default() };
    ram.write_obj(usable(0, 0x9_f000), GuestAddress(MEMORY_MAP))?;
    ram.write_obj(usable(1 << 20, RAM as u64 - (1 << 20)), GuestAddress(MEMORY_MAP + 24))?;
    let start_info = hvm_start_info {
        magic: 0x336e_c578,
        version: 1,
        cmdline_paddr: COMMAND_LINE,
        memmap_paddr: MEMORY_MAP,
        memmap_entries: 2,
        ..Default::default()
    };
    ram.write_obj(start_info, GuestAddress(START_INFO))?;
    Ok(entry.0)
}

/// A vCPU whose APIC id is its index; the first one starts at `entry` in flat protected mode.
fn vcpu(machine: &Machine, cpuid: &[kvm_cpuid_entry2], index: u32, entry: u64) -> Result<VcpuFd, Failure> {
    let vcpu = machine.vm.create_vcpu(index.into())?;
    let mut cpuid = CpuId::from_entries(cpuid).map_err(|error| format!("CPUID: {error:?}"))?;
    for leaf in cpuid.as_mut_slice() {
        match leaf.function {
            1 => (leaf.ebx, leaf.ecx) = (leaf.ebx & 0xff_ffff | index << 24, leaf.ecx | 1 << 21),
            0xb | 0x1f => leaf.edx = index,
            _ => {}
        }
    }
    vcpu.set_cpuid2(&cpuid)?;
    if index == 0 {
        let flat = kvm_segment { limit: u32::MAX, present: 1, db: 1, s: 1, g: 1, ..Default::default() };
        let data = kvm_segment { selector: 16, type_: 3, ..flat };
        let mut sregs = vcpu.get_sregs()?;
        sregs.cs = kvm_segment { selector: 8, type_: 0xb, ..flat };
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        sregs.tr = kvm_segment { limit: 0x67, selector: 24, type_: 0xb, present: 1, ..Default::default() };
        sregs.cr0 = 0x11;
        vcpu.set_sregs(&sregs)?;
        vcpu.set_regs(&kvm_regs { rip: entry, rbx: START_INFO, rflags: 2, ..Default::default() })?;
    }
    Ok(vcpu)
}

/// Runs a vCPU until the guest ends the VM with an exit code.
fn run(machine: &Machine, mut vcpu: VcpuFd, index: usize) -> Result<i32, Failure> {
    let Machine { vm, service, counters, device, .. } = machine;
    let mut conduits = VcpuConduits::new(vm, index, Arc::clone(service) as _, counters);
    loop {
        match vcpu.run() {
            // 4. A call of the guest's.
            Ok(exit) if conduits.takes(&exit) => _ = conduits.serve(&mut vcpu),
            Ok(VcpuExit::MmioRead(address, data)) => match device.find_memory(address, data.len()) {
                Some((bar, offset)) => device.bar_read(bar, offset, data),
                None => data.fill(0xff),
            },
            Ok(VcpuExit::MmioWrite(address, data)) => {
                if let Some((bar, offset)) = device.find_memory(address, data.len()) {
                    device.bar_write(bar, offset, data);
                }
            }
            Ok(VcpuExit::IoIn(port, data)) => port_in(machine, port, data),
            Ok(VcpuExit::IoOut(0xf4, code)) => return Ok(code[0].into()),
            Ok(VcpuExit::IoOut(port, data)) => port_out(machine, port, data),
            Ok(other) => return Err(format!("{other:?}").into()),
            Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.errno()) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn port_in(machine: &Machine, port: u16, data: &mut [u8]) {
    data.fill(0xff);
    match (port, pci_register(machine, port)) {
        // COM1: it can take a byte.
        (0x3f8..=0x3ff, _) => data.fill(if port == 0x3fd { 0x60 } else { 0 }),
        (_, Some(register)) => machine.device.config_read(register, data),
        _ => {}
    }
}

fn port_out(machine: &Machine, port: u16, data: &[u8]) {
    match (port, <[u8; 4]>::try_from(data), pci_register(machine, port)) {
        // A console that is closed is no reason to stop.
        (0x3f8, ..) => _ = io::stdout().write_all(data),
        (0xcf8, Ok(address), _) => machine.pci_address.store(u32::from_le_bytes(address), Relaxed),
        (_, _, Some(register)) => machine.device.config_write(register, data),
        _ => {}
    }
}

/// The register of the device's configuration space that an access to this port reaches, if it reaches one.
fn pci_register(machine: &Machine, port: u16) -> Option<u16> {
    let [register, devfn, bus, enable] = machine.pci_address.load(Relaxed).to_le_bytes();
    let within = port.checked_sub(0xcfc).filter(|within| *within < 4)?;
    ((enable, bus, devfn) == (0x80, 0, 1 << 3)).then_some(u16::from(register & 0xfc) + within)
}
