//! The machine's parts, each wrapped: at most one of them does something.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kvm_bindings::kvm_cpuid_entry2;
use pvir::{Assembly, FunctionRegisters, Hypercalls};
use pvir_host::device::Device;
use pvir_host::kvm::IrqRouter;
use pvir_host::mapping::RegionMap;
use pvir_host::memory::GuestRam;

use crate::cpuid;
use crate::device::WrongDevice;
use crate::lines::Lines;
use crate::list::Wrong;
use crate::memory::WrongMemory;
use crate::registers::WrongRegisters;
use crate::router::WrongRouter;
use crate::service::{Interposer, ServiceMemory};
use crate::variant::Variant;

/// The parts of one wrong host, or of the honest one.
pub(crate) struct Parts {
    variant: Variant,
    /// What the service is given for guest RAM, once it is.
    memory: OnceLock<Arc<ServiceMemory>>,
    /// The MSI-X tables of the devices so far.
    tables: Mutex<Vec<Option<Arc<RegionMap>>>>,
    lines: Arc<Lines>,
}

impl Parts {
    pub(crate) fn new(variant: Variant) -> Self {
        Self { variant, memory: OnceLock::new(), tables: Mutex::default(), lines: Arc::default() }
    }

    fn service_memory(&self, ram: Arc<dyn GuestRam>) -> Arc<ServiceMemory> {
        let wrong = self.variant.wrong();
        let make = || Arc::new(ServiceMemory::new(Arc::new(WrongMemory { ram, wrong }), wrong));
        Arc::clone(self.memory.get_or_init(make))
    }
}

impl Assembly for Parts {
    fn guest_ram(&self, ram: Arc<dyn GuestRam>) -> Arc<dyn GuestRam> {
        self.service_memory(ram)
    }

    fn irq_router(&self, router: Box<dyn IrqRouter>) -> Box<dyn IrqRouter> {
        Box::new(WrongRouter::new(router, self.variant.wrong()))
    }

    fn device(&self, device: Box<dyn Device>, table: Option<&Arc<RegionMap>>) -> Box<dyn Device> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (tables.len(), Arc::clone(&self.lines));
        tables.push(table.cloned());
        Box::new(WrongDevice::new(device, number, table.cloned(), self.variant.wrong()))
    }

    fn registers(&self, registers: Arc<dyn FunctionRegisters>) -> Arc<dyn FunctionRegisters> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(WrongRegisters {
            registers,
            wrong: self.variant.wrong(),
            device: tables.len().saturating_sub(1),
            lines: Arc::clone(&self.lines),
            table: tables.last().cloned().flatten(),
            seen: Mutex::default(),
        })
    }

    fn hypercalls(&self, service: Arc<dyn Hypercalls>) -> Arc<dyn Hypercalls> {
        match self.memory.get() {
            Some(memory) => Arc::new(Interposer::new(service, Arc::clone(memory), self.variant)),
            // The VMM asks for memory first: it needs it for the service.
            None => service,
        }
    }

    fn cpuid(&self, apic_id: u32, leaves: Vec<kvm_cpuid_entry2>) -> Vec<kvm_cpuid_entry2> {
        match self.variant.wrong() {
            Some(Wrong::CpuidDiffers) if apic_id != 0 => cpuid::with_other_max_records(leaves),
            Some(Wrong::MsrOfTheCpu) => cpuid::with_msr_of_the_cpu(leaves),
            _ => leaves,
        }
    }
}
