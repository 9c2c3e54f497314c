//! The library's service in this machine: over its RAM and its KVM, reached by its conduits.

use std::sync::Arc;

use anyhow::{Context, Result};
use pvir_host::kvm::{GsiRouting, MAX_GSI, VmDescriptor};
use pvir_host::service::{Config, RateLimit, Service, StormLimit};

use crate::assembly::Assembly;
use crate::vm::{RESERVED_PINS, Vm};

/// What a VM may hold, where the user limits it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quotas {
    pub(crate) of_vm: Option<u32>,
    pub(crate) of_device: Option<u32>,
    /// Irqfds that wait for being asked for.
    pub(crate) armed_ahead: u32,
    pub(crate) rate_limit: RateLimit,
    pub(crate) storm_limit: StormLimit,
}

/// The service of a VM, without devices yet.
pub(crate) fn new(vm: &Vm, quotas: Quotas, assembly: &dyn Assembly) -> Result<Service> {
    // A GSI for each is all that KVM has.
    let most = MAX_GSI - RESERVED_PINS;
    let max_irtes = quotas.of_vm.map_or(most, |quota| quota.min(most));
    let of_device = quotas.of_device.map_or(max_irtes, |quota| quota.min(max_irtes));
    let config = Config::new(vm.apic_ids.clone(), vm.conduits)
        .with_first_gsi(RESERVED_PINS)
        .with_max_irtes(max_irtes)
        .with_max_irtes_per_device(of_device)
        .with_armed_ahead(quotas.armed_ahead)
        .with_rate_limit(quotas.rate_limit)
        .with_storm_limit(quotas.storm_limit);
    let descriptor = VmDescriptor::of(&vm.fd).context("cannot duplicate the VM's file descriptor")?;
    // This VMM has no routes of its own.
    let router = GsiRouting::new(descriptor, &vm.counters).router(RESERVED_PINS..MAX_GSI, &vm.counters)?;
    let ram = assembly.guest_ram(Arc::new(vm.memory.clone()));
    Service::new(&config, ram, assembly.irq_router(Box::new(router)))
        .context("cannot set up the hypercall service")
}
