//! The whole report as one value: what `--json` writes, and what the tables are made from.

use std::collections::BTreeMap;
use std::time::Duration;

use pvir_abi::Conduits;
use pvir_host::service::ServiceStatistics;
use serde::Serialize;

use super::devices::DeviceSummary;
use super::interrupts::{self, InterruptSummary, VectorSummary};
use super::routes::CutOffRow;
use crate::vcpu::exit_counters::{ExitCause, ExitCounters};
use crate::vcpu::outcome::Outcome;

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) version: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) exit_code: u8,
    pub(crate) elapsed_ms: u128,
    /// How often the guest was started again (`--on-reboot restart`). All counts are of all boots.
    pub(crate) restarts: u64,
    /// The conduits that work on this KVM.
    pub(crate) conduits: Vec<&'static str>,
    /// All exits to user space, by cause.
    pub(crate) exits: BTreeMap<&'static str, u64>,
    pub(crate) exits_total: u64,
    pub(crate) vcpus: Vec<VcpuSummary>,
    /// Those that are there, and of each place the last one that has gone.
    pub(crate) devices: Vec<DeviceSummary>,
    /// How many devices have gone.
    pub(crate) unplugged: u64,
    pub(crate) ioctls: BTreeMap<&'static str, u64>,
    pub(crate) service: ServiceStatistics,
    pub(crate) interrupts: Vec<InterruptSummary>,
    pub(crate) interrupts_by_vector: Vec<VectorSummary>,
    /// IRTEs that were given back so long ago that they are not among the interrupts.
    pub(crate) interrupts_forgotten: u64,
    /// Devices that are cut off.
    pub(crate) cut_off: Vec<CutOffRow>,
}

/// A vCPU's part.
#[derive(Debug, Serialize)]
pub(crate) struct VcpuSummary {
    pub(crate) apic_id: u32,
    pub(crate) exits: BTreeMap<&'static str, u64>,
}

/// What the report is made from.
pub(crate) struct Sources<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) elapsed: Duration,
    pub(crate) restarts: u64,
    pub(crate) conduits: Conduits,
    pub(crate) apic_ids: &'a [u32],
    pub(crate) exits: &'a ExitCounters,
    pub(crate) devices: Vec<DeviceSummary>,
    pub(crate) unplugged: u64,
    pub(crate) ioctls: BTreeMap<&'static str, u64>,
    pub(crate) service: ServiceStatistics,
    pub(crate) interrupts: Vec<InterruptSummary>,
    pub(crate) interrupts_forgotten: u64,
    pub(crate) cut_off: Vec<CutOffRow>,
}

impl Summary {
    pub(crate) fn new(sources: Sources<'_>) -> Self {
        let mut exits = BTreeMap::new();
        let mut vcpus = Vec::new();
        let mut runs = 0;
        for (row, apic_id) in sources.exits.rows().iter().zip(sources.apic_ids) {
            let own: BTreeMap<_, _> = ExitCause::ALL
                .iter()
                .map(|cause| (cause.name(), row.get(*cause)))
                .filter(|(_, count)| *count > 0)
                .collect();
            for (name, count) in &own {
                *exits.entry(*name).or_default() += count;
                runs += count;
            }
            vcpus.push(VcpuSummary { apic_id: *apic_id, exits: own });
        }
        let mut ioctls = sources.ioctls;
        // Every exit is the return of one.
        ioctls.insert("KVM_RUN", runs);
        let signals = exits.get(ExitCause::Interrupted.name()).copied().unwrap_or(0);
        Self {
            version: env!("PVIR_VERSION"),
            exit_code: sources.outcome.code(),
            outcome: sources.outcome.clone(),
            elapsed_ms: sources.elapsed.as_millis(),
            restarts: sources.restarts,
            conduits: sources.conduits.iter_names().map(|(name, _)| name).collect(),
            exits_total: runs - signals,
            exits,
            vcpus,
            devices: sources.devices,
            unplugged: sources.unplugged,
            ioctls,
            service: sources.service,
            interrupts_by_vector: interrupts::by_vector(&sources.interrupts),
            interrupts: sources.interrupts,
            interrupts_forgotten: sources.interrupts_forgotten,
            cut_off: sources.cut_off,
        }
    }
}
