//! What a call costs by each conduit, in exits and in ioctls, as `pvir` counts it and as the kernel counts it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::CaseReport;
use crate::cases::counts::OF_CONSOLES;
use crate::expect::{grown, number, same, text};
use crate::host;
use crate::trace::{Exits, HYPERCALL, RDMSR, Trace, WRMSR, XEN};
use crate::vm::Vm;

/// Calls that the guest makes between two checkpoints.
const CALLS: u64 = 100;

/// A conduit, and the exits of one call by it: as `pvir` names them, and as KVM does where that is unambiguous.
struct Conduit {
    exits: &'static [&'static str],
    kernel: &'static [u64],
}

/// In the order in which the guest goes through them.
const CONDUITS: [Conduit; 3] = [Conduit { exits: &["pvir-vmcall"], kernel: &[XEN] }, MSR, PORT];
const FORWARDED: [Conduit; 3] = [Conduit { exits: &["pvir-vmcall"], kernel: &[HYPERCALL] }, MSR, PORT];
const MSR: Conduit = Conduit { exits: &["pvir-msr", "pvir-status-msr"], kernel: &[WRMSR, RDMSR] };
/// For KVM they are port exits, as the guest's own lines are.
const PORT: Conduit = Conduit { exits: &["pvir-port", "pvir-status-port"], kernel: &[] };

pub(super) fn run() -> Result<CaseReport> {
    let measured = measure(&CONDUITS, &[], "conduits checkpoints", 8)?;
    Ok(format!("exits of a call: VMMCALL 1, MSR 2, port 2; ioctls: none; {measured}").into())
}

/// The same where KVM forwards hypercalls by the capability with this number.
pub(super) fn forwarded(capability: &str) -> Result<String> {
    let arguments = ["--kvm-hypercalls", capability];
    let measured = measure(&FORWARDED, &arguments, "conduits forwarded checkpoints", 7)?;
    Ok(format!("a VMMCALL is one exit that KVM forwards; {measured}"))
}

/// Counts what each conduit takes. The guest judges KVM's own hypercalls in so many checks. Returns ratios of time.
fn measure(conduits: &[Conduit], arguments: &[&str], words: &str, own: usize) -> Result<String> {
    let device = format!("vfio={}", host::device(0)?);
    let trace = Trace::start()?;
    let mut vm = Vm::start(&[arguments, &["--device", &device]].concat(), words)?;
    for conduit in conduits {
        vm.until("before")?;
        let (pvir, kernel) = (vm.counts()?, trace.exits()?);
        vm.resume()?;
        vm.until("after")?;
        check(conduit, (&pvir, &kernel), (&vm.counts()?, &trace.exits()?))
            .with_context(|| conduit.exits[0].to_owned())?;
        vm.resume()?;
    }
    let ended = vm.finish()?;
    ended.passed()?;
    let judged = ended.checks("own-hypercalls");
    ensure!(judged.len() == own && judged.iter().all(|outcome| *outcome == "ok"), "KVM's own: {judged:?}");
    let measured = ended.of_kind("conduit");
    same("conduits measured", &measured.len(), &conduits.len())?;
    Ok(ratios(&measured))
}

fn check(conduit: &Conduit, before: (&Value, &Exits), after: (&Value, &Exits)) -> Result<()> {
    let mut exits = grown(&before.0["exits"], &after.0["exits"]);
    exits.retain(|cause, _| !OF_CONSOLES.contains(&cause.as_str()));
    let expected = conduit.exits.iter().map(|name| ((*name).to_owned(), CALLS)).collect();
    same("exits, by pvir", &exits, &expected)?;
    for reason in [XEN, HYPERCALL, RDMSR, WRMSR] {
        let of = |exits: &Exits| exits.get(&reason).copied().unwrap_or(0);
        let expected = if conduit.kernel.contains(&reason) { CALLS } else { 0 };
        same("exits, by KVM", &(of(after.1) - of(before.1)), &expected)
            .with_context(|| format!("reason {reason}"))?;
    }
    let mut ioctls = grown(&before.0["ioctls"], &after.0["ioctls"]);
    // one for each exit, the serial port's among them
    ioctls.remove("KVM_RUN");
    same("ioctls, by pvir", &ioctls, &BTreeMap::new())
}

/// For people: cycles in an emulator say nothing.
fn ratios(measured: &[Value]) -> String {
    let cycles = |event: &Value| number(event, "/cycles").max(1);
    let port = measured.iter().find(|event| text(event, "name") == "port").map_or(1, cycles);
    let ratio = |event: &Value| format!("{} {}%", text(event, "name"), cycles(event) * 100 / port);
    format!("time, to port: {}", measured.iter().map(ratio).collect::<Vec<_>>().join(", "))
}
