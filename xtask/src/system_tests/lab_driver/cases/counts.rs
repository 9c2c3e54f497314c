//! What each step costs, as `pvir` counts it and as the kernel counts it: mapping, programming, masking, retargeting,
//! interrupts. Between two checkpoints only one thing happens, but for the guest's own lines and its asking the serial port.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patience::Patience;
use serde_json::Value;

use crate::CaseReport;
use crate::expect::{grown, number, same};
use crate::host;
use crate::trace::{Exits, IO, MMIO, Trace, XEN};
use crate::vm::Vm;
use crate::witness::ask;

/// What happens between two checkpoints, and all that it may take.
struct Step {
    /// The checkpoint at its end.
    until: &'static str,
    calls: u64,
    ioctls: &'static [(&'static str, u64)],
}

/// Entries that are mapped.
const ENTRIES: u64 = 10;
/// Irqfds that were attached before the guest asked: counted by themselves, since no step waits for them.
const AHEAD: &str = "KVM_IRQFD (ahead)";
/// For all to be armed.
const PATIENCE: Duration = Duration::from_secs(10);

const STEPS: [Step; 8] = [
    Step {
        until: "mapped",
        calls: 1,
        ioctls: &[("KVM_SET_GSI_ROUTING", 1), ("KVM_IRQFD", ENTRIES), ("VFIO_DEVICE_SET_IRQS", 1)],
    },
    Step { until: "programmed", calls: 0, ioctls: &[] },
    Step { until: "masked", calls: 0, ioctls: &[] },
    Step { until: "pending", calls: 0, ioctls: &[] },
    Step { until: "retargeted", calls: 1, ioctls: &[("KVM_SET_GSI_ROUTING", 1)] },
    Step { until: "raised", calls: 0, ioctls: &[] },
    Step { until: "flowing", calls: 0, ioctls: &[] },
    Step { until: "delivered", calls: 0, ioctls: &[] },
];

/// Exits of the guest's waiting at a checkpoint, and of its own lines: each is accounted for elsewhere.
pub(super) const OF_CONSOLES: [&str; 2] = ["port-serial", "port-console"];
/// Exits of calls.
const CALL: &str = "pvir-vmcall";

struct Snapshot {
    pvir: Value,
    kernel: Exits,
    /// KVM's own counter in debugfs.
    mmio: u64,
}

pub(super) fn run() -> Result<CaseReport> {
    one(0)?;
    let kernel = one(ENTRIES)?;
    Ok(format!(
        "map and retarget of 10: one exit and one KVM_SET_GSI_ROUTING each, and KVM_IRQFD 10 times or, armed ahead, never; \
         programming, 1,000 masks and unmasks, 10,000 interrupts: none; whole run: {} port, {} hypercall and 0 MMIO exits, \
         by pvir and by KVM",
        kernel[&IO], kernel[&XEN]
    )
    .into())
}

/// A whole run with so many irqfds armed ahead.
fn one(ahead: u64) -> Result<Exits> {
    let device = host::device(0)?;
    let trace = Trace::start()?;
    let (device, armed) = (format!("vfio={device}"), ahead.to_string());
    let mut vm = Vm::start(&["--device", &device, "--armed-ahead", &armed], "counts checkpoints")?;
    vm.until("opened")?;
    let is_armed = |look: &Snapshot| look.pvir["ioctls"][AHEAD].as_u64().unwrap_or(0) == ahead;
    let mut before = snapshot(&mut vm, &trace)?;
    let mut patience = Patience::new(PATIENCE);
    while !is_armed(&before) {
        ensure!(!patience.is_over(), "not armed ahead: {}", before.pvir["ioctls"]);
        before = snapshot(&mut vm, &trace)?;
    }
    for step in &STEPS {
        vm.resume()?;
        vm.until(step.until)?;
        let after = snapshot(&mut vm, &trace)?;
        check(&before, &after, step, ahead).with_context(|| format!("step to {}", step.until))?;
        before = after;
    }
    let ended = vm.run_out()?;
    ended.passed()?;
    let kernel = trace.exits()?;
    check_totals(&ended.report, &kernel)?;
    same("exits on BARs in the run", &number(&ended.report, "/exits/mmio-bar"), &0)?;
    Ok(kernel)
}

fn snapshot(vm: &mut Vm, trace: &Trace) -> Result<Snapshot> {
    let pvir = vm.counts()?;
    let stats = ask(&["kvm-stats", &vm.pid()])?;
    ensure!(stats.len() == 1, "{} VMs in place of one", stats.len());
    Ok(Snapshot { pvir, kernel: trace.exits()?, mmio: number(&stats[0], "/stats/mmio_exits") })
}

fn check(before: &Snapshot, after: &Snapshot, step: &Step, ahead: u64) -> Result<()> {
    let kernel = |reason| count(&after.kernel, reason) - count(&before.kernel, reason);
    same("hypercall exits, by KVM", &kernel(XEN), &step.calls)?;
    same("MMIO exits, by KVM", &kernel(MMIO), &0)?;
    same("MMIO exits, in debugfs", &after.mmio, &before.mmio)?;

    let mut exits = grown(&before.pvir["exits"], &after.pvir["exits"]);
    exits.retain(|cause, _| !OF_CONSOLES.contains(&cause.as_str()));
    let expected = [(CALL.to_owned(), step.calls)].into_iter().filter(|(_, count)| *count > 0).collect();
    same("exits, by pvir", &exits, &expected)?;
    let mut found = grown(&before.pvir["ioctls"], &after.pvir["ioctls"]);
    // one for each exit, the serial port's among them
    found.remove("KVM_RUN");
    let left = |(name, count): &(&'static str, u64)| match *name {
        "KVM_IRQFD" => ((*name).to_owned(), count - ahead),
        name => (name.to_owned(), *count),
    };
    let expected = step.ioctls.iter().map(left).filter(|(_, count)| *count > 0).collect();
    same("ioctls, by pvir", &found, &expected)?;
    same("trapped accesses to the devices", &after.pvir["devices"], &before.pvir["devices"])
}

/// The counts of the whole run, when nothing moves any more.
pub(super) fn check_totals(report: &Value, kernel: &Exits) -> Result<()> {
    let exits = grown(&Value::Null, &report["exits"]);
    let of = |prefix: &str| -> u64 {
        exits.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| *count).sum()
    };
    same("port exits of the run, pvir and KVM", &of("port-"), &count(kernel, IO))?;
    same("hypercall exits of the run, pvir and KVM", &of(CALL), &count(kernel, XEN))?;
    same("MMIO exits of the run, pvir and KVM", &of("mmio-"), &count(kernel, MMIO))?;
    let all = number(report, "/exits_total");
    same("all exits of the run, pvir and KVM", &all, &kernel.values().sum())
}

fn count(exits: &Exits, reason: u64) -> u64 {
    exits.get(&reason).copied().unwrap_or(0)
}
