//! A VM before its vCPUs: memory, split irqchip, 32-bit APIC ids, conduits.

pub(crate) mod address_bits;
pub(crate) mod blank;
mod boot_cpu;
pub(crate) mod cpuid;
pub(crate) mod host_memory;
pub(crate) mod layout;
pub(crate) mod memory;
pub(crate) mod message;
pub(crate) mod probe;
pub(crate) mod slots;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kvm_bindings::{
    KVM_CAP_MAX_VCPU_ID, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, KVM_MAX_CPUID_ENTRIES,
    KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, KVM_X2APIC_API_USE_32BIT_IDS, kvm_cpuid_entry2, kvm_enable_cap,
};
use kvm_ioctls::{Cap, Kvm, VmFd};
use pvir_abi::Conduits;
use pvir_host::conduit::{self, Hypercalls};
use pvir_host::counters::Counters;
use pvir_host::kvm::VmDescriptor;
use vm_memory::GuestMemoryMmap;

use crate::memory_size::MemorySize;
use address_bits::AddressBits;
use blank::PinnedOnce;
use cpuid::CpuidTemplate;
use host_memory::HostMemory;
use slots::MemorySlots;

/// GSIs that KVM keeps for the pins of an I/O APIC in user space; MSI routes take those from here on.
pub(crate) const RESERVED_PINS: u32 = 24;

/// What a guest is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// All conduits that work, and the signature block. With the number of a capability, VMCALL and VMMCALL are what KVM
    /// forwards by it; otherwise KVM intercepts them all, where it can.
    Pvir { forwarding: Option<u32> },
    /// No conduit and no block: for a guest the interface does not exist.
    Nothing,
}

/// A VM, and what its parts share.
pub(crate) struct Vm {
    pub(crate) kvm: Kvm,
    pub(crate) fd: Arc<VmFd>,
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) slots: Arc<MemorySlots>,
    /// How far guest physical addresses reach.
    pub(crate) address_bits: AddressBits,
    /// The CPUID leaves that KVM supports.
    cpuid: Vec<kvm_cpuid_entry2>,
    pub(crate) conduits: Conduits,
    /// Whether KVM serves its own hypercalls: it intercepts none.
    serves_own_hypercalls: bool,
    pub(crate) apic_ids: Vec<u32>,
    pub(crate) counters: Arc<Counters>,
    /// Whether RAM is pinned for devices.
    pub(crate) pins: Arc<PinnedOnce>,
}

impl Vm {
    /// Creates the VM. The first of `apic_ids` is the boot CPU's.
    pub(crate) fn new(
        apic_ids: Vec<u32>,
        size: MemorySize,
        offer: Offer,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let kvm = probe::open()?;
        probe::check_cpus(&kvm, &apic_ids)?;
        counters.count_ioctl("KVM_GET_SUPPORTED_CPUID");
        let supported =
            kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).context("KVM_GET_SUPPORTED_CPUID failed")?;
        let cpuid = supported.as_slice().to_vec();
        let address_bits = AddressBits::of(&cpuid);
        let ram = memory::ram_ranges(size, address_bits)?;
        if let Some(host) = HostMemory::read() {
            host.check_size(size)?;
        }
        counters.count_ioctl("KVM_CREATE_VM");
        let fd = Arc::new(kvm.create_vm().context("KVM_CREATE_VM failed")?);
        let memory = memory::allocate(&ram)?;
        let slots = Arc::new(MemorySlots::new(Arc::clone(&fd), Arc::clone(&counters), slots::limit(&kvm)));
        slots.map_ram(&memory)?;

        enable(&fd, &counters, "KVM_CAP_SPLIT_IRQCHIP", KVM_CAP_SPLIT_IRQCHIP, RESERVED_PINS.into())?;
        let flags = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
        enable(&fd, &counters, "KVM_CAP_X2APIC_API", KVM_CAP_X2APIC_API, flags.into())?;
        limit_vcpu_ids(&fd, &counters, &apic_ids);
        if let Some(boot) = apic_ids.first().filter(|id| **id != 0) {
            boot_cpu::set_id(&fd, &counters, *boot)?;
        }
        let conduits = match offer {
            Offer::Pvir { forwarding } => {
                let descriptor =
                    VmDescriptor::of(&fd).context("cannot duplicate the VM's file descriptor")?;
                let hypercall = conduit::hypercall_of(&cpuid);
                match forwarding {
                    Some(capability) => open_forwarding(&descriptor, hypercall, capability, &counters)?,
                    None => conduit::open(&descriptor, hypercall, &counters)?,
                }
            }
            Offer::Nothing => Conduits::empty(),
        };
        let serves_own_hypercalls =
            matches!(offer, Offer::Pvir { forwarding: Some(_) }) || !conduits.intersects(conduit::HYPERCALLS);
        tracing::info!(?conduits, "conduits that work on this KVM");
        let pins = Arc::default();
        Ok(Self {
            kvm,
            fd,
            memory,
            slots,
            address_bits,
            cpuid,
            conduits,
            serves_own_hypercalls,
            apic_ids,
            counters,
            pins,
        })
    }

    /// What the CPUID of the VM's vCPUs is made of.
    pub(crate) fn cpuid(&self, service: &dyn Hypercalls) -> Result<CpuidTemplate> {
        Ok(CpuidTemplate {
            supported: self.cpuid.clone(),
            cpus: u32::try_from(self.apic_ids.len())?,
            highest_apic_id: self.apic_ids.iter().copied().max().unwrap_or(0),
            tsc_deadline: self.kvm.check_extension(Cap::TscDeadlineTimer),
            serves_own_hypercalls: self.serves_own_hypercalls,
            discovery: Some(service.discovery()).filter(|shown| !shown.conduits.is_empty()),
        })
    }
}

/// The conduits of a KVM that forwards pvir's hypercall by a capability, and serves its own.
fn open_forwarding(
    vm: &VmDescriptor,
    hypercall: Conduits,
    capability: u32,
    counters: &Counters,
) -> Result<Conduits> {
    let forwarded = conduit::forward_hypercall(vm, capability, counters)
        .with_context(|| format!("capability {capability} of KVM\nhelp: leave --kvm-hypercalls out"))?;
    ensure!(
        forwarded,
        "KVM does not forward hypercalls by capability {capability}\nhelp: leave --kvm-hypercalls out"
    );
    let msr = conduit::exit_on_msr(vm, conduit::MSR, counters)?;
    Ok(Conduits::PORT | hypercall | if msr { Conduits::MSR } else { Conduits::empty() })
}

fn enable(fd: &VmFd, counters: &Counters, name: &'static str, cap: u32, argument: u64) -> Result<()> {
    let cap = kvm_enable_cap { cap, args: [argument, 0, 0, 0], ..Default::default() };
    counters.count_ioctl("KVM_ENABLE_CAP");
    fd.enable_cap(&cap).with_context(|| format!("{name} cannot be enabled"))
}

/// Lets KVM size its tables for the ids in use. Only a saving, so that an old KVM without it is fine.
fn limit_vcpu_ids(fd: &VmFd, counters: &Counters, apic_ids: &[u32]) {
    let ids = apic_ids.iter().copied().max().unwrap_or(0) + 1;
    if let Err(error) = enable(fd, counters, "KVM_CAP_MAX_VCPU_ID", KVM_CAP_MAX_VCPU_ID, ids.into()) {
        tracing::debug!("{error:#}");
    }
}
