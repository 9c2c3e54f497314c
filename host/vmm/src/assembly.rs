//! The parts of a machine, where whoever embeds the VMM can choose them.

use std::error::Error;
use std::sync::Arc;

use kvm_bindings::kvm_cpuid_entry2;
use pvir_abi::DeviceId;
use pvir_host::conduit::Hypercalls;
use pvir_host::counters::Counters;
use pvir_host::device::Device;
use pvir_host::isolation::Host;
use pvir_host::kvm::IrqRouter;
use pvir_host::mapping::RegionMap;
use pvir_host::memory::GuestRam;
use pvir_host::vfio::{Demand, VfioPci};
use vm_memory::GuestMemoryMmap;

use crate::pci::registers::FunctionRegisters;

/// Chooses the parts of a machine. Each function is given the part that the VMM has made, and answers with the part that
/// the machine gets: the same one (which the functions do by themselves), one around it, or another.
pub trait Assembly {
    /// Guest RAM as the hypercall service reads and writes it. Devices and the loader have their own access.
    fn guest_ram(&self, ram: Arc<dyn GuestRam>) -> Arc<dyn GuestRam> {
        ram
    }

    /// KVM's interrupt routing as the hypercall service uses it.
    fn irq_router(&self, router: Box<dyn IrqRouter>) -> Box<dyn IrqRouter> {
        router
    }

    /// A host device of the command line, opened. With `None` (the answer by itself) the VMM opens it, in a container of
    /// its own. Who answers with a device maps `wanted.ram` for its DMA.
    ///
    /// # Errors
    /// Whatever kept the device from being opened. It ends the run.
    fn host_device(&self, wanted: &HostDevice<'_>) -> Result<Option<VfioPci>, Box<dyn Error + Send + Sync>> {
        let _ = wanted;
        Ok(None)
    }

    /// A device as the hypercall service uses it, in the order of the command line. `table` is the memory of its MSI-X
    /// table where that is the VMM's own: of an emulated device.
    fn device(&self, device: Box<dyn Device>, table: Option<&Arc<RegionMap>>) -> Box<dyn Device> {
        let _ = table;
        device
    }

    /// The registers of a device's function as the guest reaches them, after [`device`](Self::device) was asked for it.
    fn registers(&self, registers: Arc<dyn FunctionRegisters>) -> Arc<dyn FunctionRegisters> {
        registers
    }

    /// The hypercall service as the vCPUs reach it, by every conduit.
    fn hypercalls(&self, service: Arc<dyn Hypercalls>) -> Arc<dyn Hypercalls> {
        service
    }

    /// The CPUID leaves of the vCPU that has the APIC id `apic_id`.
    fn cpuid(&self, apic_id: u32, leaves: Vec<kvm_cpuid_entry2>) -> Vec<kvm_cpuid_entry2> {
        let _ = apic_id;
        leaves
    }
}

/// A host device that the VM is to have.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HostDevice<'a> {
    /// The host.
    pub host: &'a Host,
    /// Address of the device on the host.
    pub address: DeviceId,
    /// All host devices of this VM, by which an IOMMU group is validated as a whole.
    pub assigned: &'a [DeviceId],
    /// What the host must fulfil.
    pub demand: Demand,
    /// The VM's RAM, which does not change.
    pub ram: &'a GuestMemoryMmap,
    /// Where ioctls are counted.
    pub counters: &'a Arc<Counters>,
}

/// The machine of the VMM's own parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnParts;

impl Assembly for OwnParts {}
