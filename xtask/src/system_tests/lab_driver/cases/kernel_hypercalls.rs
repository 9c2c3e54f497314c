//! VMMCALL as a conduit by a capability of KVM that only a patched kernel has (docs/kernel): calls of the guest's kernel
//! come to the VMM, those of its programs do not, and KVM's own hypercalls are served.

use anyhow::{Context, Result, ensure};

use super::{conduits, guest};
use crate::CaseReport;
use crate::expect::{same, text};
use crate::host;
use crate::vm::Vm;

/// The number that the patches of docs/kernel give the capability.
const CAPABILITY: &str = "252";
/// A capability that takes whatever it is given (`KVM_CAP_HALT_POLL`), one of hypercalls that refuses the range
/// (`KVM_CAP_EXIT_HYPERCALL`), and one that no kernel has.
const OTHERS: [&str; 3] = ["182", "201", "6000"];
/// Exit status: this machine does not let the run start.
const ENVIRONMENT: i32 = 3;

pub(super) fn run() -> Result<CaseReport> {
    let option = ["--kvm-hypercalls", CAPABILITY];
    let cost = conduits::forwarded(CAPABILITY)?;
    let calls = guest::calls_by("vmmcall", &option)?;
    of_programs(&option)?;
    for number in OTHERS {
        refused(number).with_context(|| format!("capability {number}"))?;
    }
    let off = Vm::start(&["--mode", "trap"], "conduits unoffered")?.finish()?;
    off.passed()?;
    same("pvir's number where it is not offered", &off.checks("no-such-call"), &vec!["ok"])?;
    Ok(format!(
        "{cost}; {calls}; from ring 3 KVM refuses it; without the capability -ENOSYS; capabilities {} are refused",
        OTHERS.join(", ")
    )
    .into())
}

/// KVM answers code without privilege by itself, and hands over nothing.
fn of_programs(option: &[&str]) -> Result<()> {
    let device = format!("vfio={}", host::device(0)?);
    let ended = Vm::start(&[option, &["--device", &device]].concat(), "refusals")?.finish()?;
    ended.passed()?;
    let checks = ended.of_kind("check");
    let good = checks.iter().filter(|event| event["name"] == "ring3" && event["outcome"] == "ok");
    let ring3: Vec<&str> = good.map(|event| text(event, "detail")).collect();
    for answer in ["vmmcall: the hypervisor refuses it", "port: the host answers"] {
        ensure!(ring3.iter().any(|detail| detail.starts_with(answer)), "no {answer:?}: {ring3:?}");
    }
    Ok(())
}

/// A number that is another capability's, or none's, is no reason to go on without it.
fn refused(number: &str) -> Result<()> {
    let ended = Vm::start(&["--kvm-hypercalls", number], "selftest")?.finish()?;
    same("exit status", &ended.status, &Some(ENVIRONMENT)).with_context(|| ended.stderr.clone())?;
    for word in [number, "--kvm-hypercalls"] {
        ensure!(ended.stderr.contains(word), "the message does not say {word:?}: {}", ended.stderr);
    }
    Ok(())
}
