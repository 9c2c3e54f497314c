//! The platform around the vCPUs: what their exits reach.

use std::sync::Arc;

use anyhow::Result;
use pvir_host::conduit::Hypercalls;
use pvir_host::counters::Counters;
use vm_memory::GuestMemoryMmap;

use super::ending::Ending;
use super::exit_counters::{AccessKind, ExitCause, ExitCounters, VcpuExits};
use super::ports::Ports;
use crate::devices::io_apic::IoApic;
use crate::pci::bus::PciBus;
use crate::vm::layout;

/// What all vCPUs reach.
pub(crate) struct Platform {
    pub(crate) ports: Ports,
    pub(crate) pci: Arc<PciBus>,
    pub(crate) io_apic: Arc<IoApic>,
    pub(crate) service: Arc<dyn Hypercalls>,
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) exits: Arc<ExitCounters>,
    pub(crate) ending: Arc<Ending>,
    pub(crate) counters: Arc<Counters>,
}

impl Platform {
    /// Everything of the machine but its memory, vCPUs and the hypercall service is as at power-on. No vCPU runs, and the
    /// service was reset before.
    ///
    /// # Errors
    /// The first device that could not be reset.
    pub(crate) fn reset(&self) -> Result<()> {
        self.ports.reset();
        self.io_apic.reset();
        self.pci.reset()
    }

    /// Reads guest physical memory that is not RAM.
    pub(super) fn memory_read(&self, address: u64, data: &mut [u8], exits: &VcpuExits) -> ExitCause {
        if layout::IO_APIC.contains(&address) {
            self.io_apic.read(address - layout::IO_APIC.start, data);
            return ExitCause::MmioIoApic;
        }
        count_mmio(exits, self.pci.memory_read(address, data), address, AccessKind::Read)
    }

    /// Writes guest physical memory that is not RAM.
    pub(super) fn memory_write(&self, address: u64, data: &[u8], exits: &VcpuExits) -> ExitCause {
        if layout::IO_APIC.contains(&address) {
            self.io_apic.write(address - layout::IO_APIC.start, data);
            return ExitCause::MmioIoApic;
        }
        count_mmio(exits, self.pci.memory_write(address, data), address, AccessKind::Write)
    }
}

fn count_mmio(exits: &VcpuExits, served: Option<(usize, u8)>, address: u64, access: AccessKind) -> ExitCause {
    match served {
        Some((function, bar)) => {
            exits.count_bar(function, bar, access);
            ExitCause::MmioBar
        }
        None => {
            tracing::debug!(address = format_args!("{address:#x}"), ?access, "MMIO where nothing is");
            ExitCause::MmioOther
        }
    }
}
