//! KVM: is it there, what has it, which conduits, and does a VM run?

use std::time::Duration;

use kvm_ioctls::{Cap, Kvm};
use pvir_abi::Conduits;

use super::check::Check;
use super::selftest;
use crate::vm::probe;

/// How long an instruction of the self-test may take: on a software KVM it takes a few milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// All of them; a failure means that no VM can run.
pub(super) fn checks() -> Vec<Check> {
    let kvm = match probe::open() {
        Ok(kvm) => kvm,
        Err(error) => return vec![Check::fail_by("kvm", &format!("{error:#}"))],
    };
    let mut checks = vec![capabilities(&kvm)];
    match selftest::run(LIMIT) {
        Ok(report) => {
            checks.push(conduits(&report));
            checks.push(self_test(&report));
        }
        Err(error) => checks.push(Check::fail_by("self-test", &format!("{error:#}"))),
    }
    checks
}

fn capabilities(kvm: &Kvm) -> Check {
    let optional = [
        (Cap::SetBootCpuId, "KVM_CAP_SET_BOOT_CPU_ID"),
        (Cap::X86UserSpaceMsr, "KVM_CAP_X86_USER_SPACE_MSR"),
        (Cap::X86MsrFilter, "KVM_CAP_X86_MSR_FILTER"),
    ];
    let missing: Vec<_> =
        optional.iter().filter(|(cap, _)| !kvm.check_extension(*cap)).map(|(_, name)| *name).collect();
    let what = format!(
        "/dev/kvm has all that is needed; at most {} vCPUs, APIC ids below {}",
        kvm.get_max_vcpus(),
        kvm.get_max_vcpu_id()
    );
    if missing.is_empty() {
        return Check::ok("kvm", what);
    }
    Check::warn("kvm", format!("{what}; without {}", missing.join(", ")), "a newer host kernel has it")
}

/// In the order in which a guest looks for them.
const NAMES: [(Conduits, &str); 4] = [
    (Conduits::VMCALL, "VMCALL"),
    (Conduits::VMMCALL, "VMMCALL"),
    (Conduits::MSR, "MSR"),
    (Conduits::PORT, "port"),
];

fn name(conduit: Conduits) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == conduit).map_or("?", |(_, name)| name)
}

fn conduits(report: &selftest::SelfTestReport) -> Check {
    let offered: Vec<_> = NAMES
        .iter()
        .filter(|(conduit, _)| report.conduits.contains(*conduit))
        .map(|(_, name)| *name)
        .collect();
    let mut what = format!("a guest uses {}", offered.first().unwrap_or(&"none"));
    if offered.len() > 1 {
        what.push_str(&format!(", and can use {}", offered[1..].join(", ")));
    }
    if !report.conduits.intersects(Conduits::VMCALL | Conduits::VMMCALL) {
        what.push_str("; no VMCALL or VMMCALL: KVM does not hand them over (needs CONFIG_KVM_XEN)");
    }
    if !report.conduits.contains(Conduits::MSR) {
        what.push_str("; no MSR: KVM has no filter for them (Linux 5.10 has)");
    }
    Check::ok("conduits", what)
}

fn self_test(report: &selftest::SelfTestReport) -> Check {
    let failed: Vec<_> = report
        .tried
        .iter()
        .filter_map(|tried| Some((name(tried.conduit), tried.outcome.as_ref().err()?)))
        .map(|(name, error)| format!("{name}: {error}"))
        .collect();
    if failed.is_empty() {
        let names: Vec<_> = report.tried.iter().map(|tried| name(tried.conduit)).collect();
        return Check::ok(
            "self-test",
            format!("a VM runs, and calls come out of it by {}", names.join(", ")),
        );
    }
    Check::fail(
        "self-test",
        format!("calls do not come out of a VM by {}", failed.join("; ")),
        "tell it to whoever made this KVM; a newer host kernel may be better",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_commands::doctor::check::Level;
    use selftest::{ConduitTrial, SelfTestReport};

    #[test]
    fn a_conduit_that_does_not_work_fails_by_name() {
        let tried = |conduit, outcome| ConduitTrial { conduit, outcome };
        let mut report = SelfTestReport {
            conduits: Conduits::PORT | Conduits::MSR,
            tried: vec![tried(Conduits::PORT, Ok(()))],
        };
        assert_eq!(self_test(&report).level, Level::Ok);
        report.tried.push(tried(Conduits::MSR, Err("stopped".into())));
        assert!(
            self_test(&report)
                .to_string()
                .starts_with("fail  self-test: calls do not come out of a VM by MSR: stopped")
        );
        let said = conduits(&report).to_string();
        assert!(said.contains("a guest uses MSR, and can use port; no VMCALL or VMMCALL"), "{said}");
    }
}
