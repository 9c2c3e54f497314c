//! pvir's service of one VM, and alioth's RAM as the service has it.

use std::arch::x86_64::CpuidResult;
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use alioth::arch::cpuid::CpuidIn;
use alioth::hv::VmEntry;
use alioth::mem::mapped::RamBus;
use anyhow::Result;
use pvir_abi::{Conduits, GuestPhysAddr};
use pvir_host::conduit::{self, Calls};
use pvir_host::counters::Counters;
use pvir_host::function::PciFunction;
use pvir_host::kvm::{GsiRouting, MAX_GSI, VmDescriptor};
use pvir_host::memory::{GuestRam, NotRam};
use pvir_host::service::{Config, Service};

/// alioth gives its irqfds the GSIs below this one.
pub const FIRST_GSI: u32 = 256;

/// What the vCPUs of a VM reach of pvir.
pub struct Pvir {
    pub service: Arc<Service>,
    pub calls: Calls,
    pub routing: GsiRouting,
    pub ram: Arc<BoardRam>,
    /// The functions that the library serves; they are known before the guest is started.
    pub functions: OnceLock<Vec<Arc<PciFunction>>>,
    /// What the guest has written to the exit port; `u32::MAX` before that.
    pub exit_code: AtomicU32,
}

impl Pvir {
    /// The service of the VM with this descriptor, whose vCPUs have the APIC ids from 0 on.
    pub fn new(vm: BorrowedFd<'_>, cpus: u16) -> Result<Self> {
        let (ram, counters) = (Arc::<BoardRam>::default(), Counters::new());
        let routing = GsiRouting::new(VmDescriptor::duplicate(vm)?, &counters);
        let router = routing.router(FIRST_GSI..MAX_GSI, &counters)?;
        let apic_ids = (0..cpus.into()).collect();
        let config = Config::new(apic_ids, Conduits::PORT).with_first_gsi(FIRST_GSI);
        let service = Arc::new(Service::new(&config, Arc::clone(&ram) as _, Box::new(router))?);
        let calls = Calls::new(Arc::clone(&service) as _);
        let (functions, exit_code) = (OnceLock::new(), AtomicU32::new(u32::MAX));
        Ok(Self { service, calls, routing, ram, functions, exit_code })
    }

    /// Serves an access to memory, if a BAR of one of the functions is there, and answers what the vCPU goes on with.
    pub fn memory(&self, address: u64, write: Option<u64>, size: usize) -> Option<VmEntry> {
        let of_function = |function: &Arc<PciFunction>| {
            let (bar, offset) = function.find_memory(address, size)?;
            let mut data = write.unwrap_or(0).to_le_bytes();
            let bytes = data.get_mut(..size)?;
            if write.is_some() {
                function.bar_write(bar, offset, bytes);
                return Some(VmEntry::None);
            }
            function.bar_read(bar, offset, bytes);
            Some(VmEntry::Mmio { data: u64::from_le_bytes(data) })
        };
        self.functions.get()?.iter().find_map(of_function)
    }

    /// Adds the service's signature block to the CPUID of a vCPU.
    pub fn add_signature_block(&self, cpuids: &mut HashMap<CpuidIn, CpuidResult>) {
        let Some(base) = conduit::free_block(cpuids.keys().map(|leaf| leaf.func)) else { return };
        for (func, leaf) in (base..).zip(self.service.discovery().to_leaves(base)) {
            let result = CpuidResult { eax: leaf.eax, ebx: leaf.ebx, ecx: leaf.ecx, edx: leaf.edx };
            cpuids.insert(CpuidIn { func, index: None }, result);
        }
    }
}

/// alioth's RAM, known once its board exists.
#[derive(Default)]
pub struct BoardRam(pub OnceLock<Arc<RamBus>>);

impl GuestRam for BoardRam {
    fn read(&self, at: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), NotRam> {
        let refused = NotRam(at, bytes.len());
        let ram = self.0.get().filter(|_| self.is_ram(at, bytes.len())).ok_or(refused)?;
        ram.read(at.0, bytes).map_err(|_| refused)
    }

    fn write(&self, at: GuestPhysAddr, bytes: &[u8]) -> Result<(), NotRam> {
        let refused = NotRam(at, bytes.len());
        let ram = self.0.get().filter(|_| self.is_ram(at, bytes.len())).ok_or(refused)?;
        ram.write(at.0, bytes).map_err(|_| refused)
    }

    fn is_ram(&self, at: GuestPhysAddr, len: usize) -> bool {
        let Some(ram) = self.0.get() else { return false };
        let inside = |start: u64, size: u64| {
            let offset = at.0.checked_sub(start)?;
            (len > 0 && offset.checked_add(len as u64)? <= size).then_some(())
        };
        ram.lock_layout().iter().any(|(start, pages)| inside(start, pages.size()).is_some())
    }
}
