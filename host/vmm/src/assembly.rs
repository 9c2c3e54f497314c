//! The parts of a machine, where whoever embeds the VMM can choose them.

use std::sync::Arc;

use kvm_bindings::kvm_cpuid_entry2;
use pvir_host::device::Device;
use pvir_host::kvm::IrqRouter;
use pvir_host::mapping::RegionMap;
use pvir_host::memory::GuestRam;

use crate::vm::conduit::Hypercalls;

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

    /// A device as the hypercall service uses it, in the order of the command line. `table` is the memory of its MSI-X
    /// table where that is the VMM's own: of an emulated device.
    fn device(&self, device: Box<dyn Device>, table: Option<&Arc<RegionMap>>) -> Box<dyn Device> {
        let _ = table;
        device
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

/// The machine of the VMM's own parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnParts;

impl Assembly for OwnParts {}
