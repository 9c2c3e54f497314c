//! alioth's machine with pvir's hypercall service beside it: it boots a PVH kernel that programs its devices' interrupts
//! by pvir. `README.md` says what goes where.

/// Functions of a trait of alioth's that do what those of the wrapped backend do.
macro_rules! delegate {
    ($of:ident by $place:expr; $(fn $name:ident($self:ident $(, $argument:ident: $kind:ty)*) -> $answer:ty;)*) => {
        $(fn $name(&$self $(, $argument: $kind)*) -> alioth::hv::Result<$answer> {
            $of::$name(&$place $(, $argument)*)
        })*
    };
}

mod function;
mod hypervisor;
mod msi;
mod pvir;
mod vcpu;
mod vfio;

use std::env;
use std::ffi::CString;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;

use alioth::arch::layout::PCIE_MMIO_32_PREFETCHABLE_START;
use alioth::board::{Board, BoardConfig, CpuConfig};
use alioth::hv::{Kvm, KvmConfig};
use alioth::loader::{Executable, Payload};
use alioth::mem::MemConfig;
use anyhow::{Context, Result, anyhow, bail};
use pvir_abi::DeviceId;
use pvir_host::emulation::{HandlePool, MessageStore, MsiForm, StoreLayout};
use pvir_host::function::{NewFunction, PciFunction};
use pvir_test_device::function_with_events;

use function::{BusFunction, device_id};
use hypervisor::{PvirKvm, PvirVm, Slots};

const CPUS: u16 = 2;
const RAM: u64 = 256 << 20;
const USAGE: &str = "usage: pvir-alioth [--vfio BDF]... [--append WORDS] KERNEL";

fn main() -> Result<()> {
    let (mut kernel, mut words, mut host_devices) = (None, String::new(), Vec::new());
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--append" => words = arguments.next().context(USAGE)?,
            "--vfio" => host_devices.push(arguments.next().context(USAGE)?.parse()?),
            path => kernel = Some(PathBuf::from(path)),
        }
    }
    let kernel = kernel.context(USAGE)?;

    let hypervisor = PvirKvm { kvm: Kvm::new(KvmConfig::default())?, cpus: CPUS };
    let config = BoardConfig {
        mem: MemConfig { size: RAM, ..MemConfig::default() },
        cpu: CpuConfig { count: CPUS, ..CpuConfig::default() },
        coco: None,
    };
    let board = Arc::new(Board::new(&hypervisor, config)?);
    let pvir = &board.vm.pvir;
    let _ = pvir.ram.0.set(board.memory.ram_bus());
    let mut next_bar = PCIE_MMIO_32_PREFETCHABLE_START;
    let functions = if host_devices.is_empty() {
        let mut handles = HandlePool::default();
        let msi = MessageStore::Msi(MsiForm { wide: true, maskable: false });
        let layouts = [StoreLayout::new(MessageStore::Msix, 10, 16)?, StoreLayout::new(msi, 8, 0)?];
        let one = |layout| {
            let (handles, ram) = (handles.take(&layout)?, Arc::clone(&pvir.ram) as _);
            let new = |id, slots: Slots| {
                let slots = Arc::new(slots);
                Ok(function_with_events(id, layout, &handles, ram, slots, &pvir.service)?.0)
            };
            add(&board, &mut next_bar, new)
        };
        layouts.into_iter().map(one).collect::<Result<_>>()?
    } else {
        let container = vfio::container(&board)?;
        let one = |address: &DeviceId| {
            let device = vfio::open(&container, *address, &host_devices)?;
            add(&board, &mut next_bar, |id, slots| Ok(PciFunction::vfio(device, id, Arc::new(slots))?))
        };
        host_devices.iter().map(one).collect::<Result<_>>()?
    };
    let _ = pvir.functions.set(functions);

    *board.payload.write() = Some(Payload {
        executable: Some(Executable::Pvh(kernel.into())),
        cmdline: Some(CString::new(words)?),
        ..Payload::default()
    });
    run(&board)?;
    pvir.service.shut_down();
    match pvir.exit_code.load(Ordering::Relaxed) {
        u32::MAX => bail!("the guest has ended without an exit code"),
        code => process::exit(code.try_into()?),
    }
}

/// Puts a function on alioth's bus, at the next free place.
///
/// Its BARs go where alioth has room for those of 32 bits that are prefetchable, of which its own devices have none.
fn add(
    board: &Board<PvirVm>,
    next_bar: &mut u64,
    make: impl FnOnce(DeviceId, Slots) -> Result<NewFunction>,
) -> Result<Arc<PciFunction>> {
    let place = board.pci_bus.reserve(None).context("the bus is full")?;
    let slots = board.vm.slots.clone().context("the board has no memory")?;
    let function = make(device_id(place), slots)?.attach(&board.vm.pvir.service)?;
    for (bar, spec) in function.bars() {
        let address = next_bar.next_multiple_of(spec.alignment());
        function.set_bar_address(bar, address)?;
        *next_bar = address + spec.size();
    }
    board.pci_bus.add(place, Arc::new(BusFunction::new(Arc::clone(&function))));
    Ok(function)
}

/// Runs the guest to its end, with a thread for each vCPU. alioth's own `Machine` does the same, but lets nobody reach
/// its board.
fn run(board: &Arc<Board<PvirVm>>) -> Result<()> {
    let (sender, started_or_ended) = mpsc::channel();
    let mut vcpus = board.vcpus.write();
    for index in 0..CPUS {
        let (board, sender) = (Arc::clone(board), sender.clone());
        let thread = thread::Builder::new().name(format!("vcpu_{index}"));
        vcpus.push(thread.spawn(move || board.run_vcpu(index, sender))?);
        started_or_ended.recv()?;
    }
    drop(vcpus);
    board.arch_init()?;
    board.boot()?;
    for _ in 0..CPUS {
        started_or_ended.recv()?;
    }
    let vcpus: Vec<_> = board.vcpus.write().drain(..).collect();
    vcpus
        .into_iter()
        .try_for_each(|vcpu| Ok(vcpu.join().map_err(|_| anyhow!("a vCPU's thread panicked"))??))
}
