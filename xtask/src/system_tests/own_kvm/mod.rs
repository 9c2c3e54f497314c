//! The machine's own KVM, with the emulated device: no VFIO, but real irqfds. Skipped where there is no KVM, or where
//! it cannot run the kernel's self-test in time.

mod checks;
mod guest;
mod storm;

pub(super) use checks::conformance;
pub(super) use guest::{Ran, SILENCE, finish, guest, start};
pub(super) use storm::{Storm, latency};

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build::Programs;
use crate::runner::{Batch, Finding, Verdict};
use crate::system_tests::{long, scale};

const KVM: &str = "/dev/kvm";

pub(super) const CASES: Batch = Batch {
    cases: &[
        ("kvm/direct-msr", "the main job with two vCPUs, by MSR"),
        ("kvm/direct-port", "the main job with two vCPUs, by port"),
        ("kvm/direct-four-cpus", "the main job with four vCPUs"),
        ("kvm/apic300", "the main job with APIC ids 0 and 300"),
        ("kvm/refusals-msr", "bad input, by MSR"),
        ("kvm/refusals-port", "bad input, by port"),
        ("kvm/hostile", "100,000 calls at random, devices and blocks scribbled over: nothing comes of it"),
        ("kvm/blocked-msr", "pairs that were not given, by MSR"),
        ("kvm/blocked-port", "pairs that were not given, by port"),
        ("kvm/counts", "one step between two checkpoints"),
        ("kvm/routings", "logical destinations, lowest priority, the hint"),
        ("kvm/dynamic", "entries come and go one by one while another fires"),
        ("kvm/trapped", "MSI-X trapped, then enabled over live interrupts, then trapped again"),
        ("kvm/trapped-apic300", "messages to the APIC id 300, in the form of KVM_FEATURE_MSI_EXT_DEST_ID"),
        ("kvm/trap-mode", "nothing is offered"),
        ("kvm/emulated-ims", "messages in the guest's RAM"),
        ("kvm/emulated-msi", "32 messages of one MSI capability, and 4 of a narrow one"),
        (
            "kvm/emulated-busy",
            "a device that raises at its own rate, with sequence numbers in the guest's RAM",
        ),
        (
            "kvm/retargets",
            "every vector is moved by two vCPUs while the device raises: none lost, twice or elsewhere",
        ),
        (
            "kvm/failing",
            "calls into the real kernel fail, by strace: the guest is told, finds all as before, and is granted the same again",
        ),
        ("kvm/events", "pairs go stale and a busy device is cut off, announced: the recovery loses nothing"),
        ("kvm/events-polled", "the same without an announcement"),
        ("kvm/decode", "memory decode toggled by one vCPU while another maps and unmaps"),
        ("kvm/storm", "a device that storms is cut off, the guest told; reset, it serves again"),
        ("kvm/storm-trapped", "the same of a device whose table is trapped"),
        ("kvm/storm-neighbour", "a second VM is served while the first one storms: its latency"),
        (
            "kvm/takeover",
            "a kernel that another one has started takes the VM over: nothing of the other is alive",
        ),
        ("kvm/scale", "2,048 entries, 350 vCPUs, APIC ids to 4095: a part of all pairs"),
        ("kvm/limits", "two devices ask for more IRTEs than there are"),
        ("kvm/quotas", "the quotas of a VM and of a device, run into"),
        ("kvm/several", "three devices in one call: interrupts of all, none mixed"),
        ("kvm/conduits", "exits and ioctls of a call by each conduit"),
        ("kvm/bench-direct", "accesses and calls of each step of the benchmark, with pvir"),
        ("kvm/bench-trapped", "the same as a Linux guest does it"),
        ("kvm/conformance", "every statement of the contract, on the emulated device"),
    ],
    run,
};

const ONE: &[&str] = &["--device", "emulated,vectors=10"];
const MSI: &[&str] = &[
    "--device",
    "emulated,store=msi,vectors=32,maskable",
    "--device",
    "emulated,store=msi,vectors=4,narrow",
];
const LARGE: &[&str] = &["--device", "emulated,vectors=2048", "--device", "emulated,vectors=2048"];
/// MSI-X and IMS, and MSI of several messages.
const STORES: &[&str] = &["--device", "emulated,vectors=10", "--device", "emulated,store=msi,vectors=8"];
const TWO: &[&str] = &["--device", "emulated,vectors=10", "--device", "emulated"];
const THREE: &[&str] =
    &["--device", "emulated,vectors=10", "--device", "emulated,vectors=5", "--device", "emulated"];

/// Arguments of `pvir run` for a case.
fn arguments(name: &str) -> Option<(&'static [&'static str], &'static [&'static str], &'static str)> {
    let two = &["--cpus", "2"];
    Some(match name {
        "kvm/direct-msr" => (two, TWO, "direct interrupts=1000 conduit=msr"),
        "kvm/direct-port" => (two, TWO, "direct interrupts=1000 conduit=port"),
        "kvm/direct-four-cpus" => (&["--cpus", "4"], ONE, "direct interrupts=1000"),
        "kvm/apic300" => (&["--apic-ids", "0,300"], ONE, "direct interrupts=1000"),
        "kvm/refusals-msr" => (two, ONE, "refusals conduit=msr"),
        "kvm/refusals-port" => (two, ONE, "refusals conduit=port"),
        // Without a limit, which would refuse most of what it does.
        "kvm/hostile" => (&["--cpus", "2", "--rate-limit", "off"], STORES, "hostile"),
        "kvm/blocked-msr" => (two, TWO, "blocked conduit=msr"),
        "kvm/blocked-port" => (two, TWO, "blocked conduit=port"),
        "kvm/counts" => (two, ONE, "counts"),
        "kvm/routings" => (two, ONE, "routings"),
        "kvm/dynamic" => (two, ONE, "dynamic rounds=5"),
        "kvm/trapped" => (two, TWO, "trapped"),
        "kvm/trapped-apic300" => (&["--apic-ids", "0,300"], ONE, "trapped"),
        "kvm/trap-mode" => (&["--cpus", "2", "--mode", "trap"], TWO, "trapped unoffered"),
        "kvm/emulated-ims" => (two, ONE, "ims"),
        "kvm/emulated-msi" => (two, MSI, "multi"),
        "kvm/emulated-busy" => (&["--cpus", "4"], ONE, "sequences"),
        "kvm/events" => (two, ONE, "events"),
        "kvm/events-polled" => (two, ONE, "events notify=off rounds=30"),
        "kvm/retargets" => (&[], &long::MACHINE, "retargets rounds=60 free=20"),
        // Under strace, by `long`.
        "kvm/failing" => (&[], &[], ""),
        "kvm/decode" => (two, ONE, "decode toggles=200"),
        "kvm/storm" => (&["--cpus", "2", "--storm-limit", storm::LIMIT], ONE, "storms reset=guest"),
        "kvm/storm-trapped" => {
            (&["--cpus", "2", "--storm-limit", storm::LIMIT], ONE, "storms trapped reset=guest")
        }
        // Several VMs, by `storm::neighbour`.
        "kvm/storm-neighbour" => (&[], &[], ""),
        "kvm/takeover" => (two, ONE, "takeover"),
        // With the machine and the device of `run.sh scale`.
        "kvm/scale" => (&[], &[], "scale rounds=50"),
        "kvm/limits" => (&["--cpus", "1"], LARGE, "limits"),
        "kvm/quotas" => (&["--cpus", "2", "--max-irtes", "6", "--max-irtes-per-device", "4"], TWO, "quotas"),
        "kvm/several" => (two, THREE, "several"),
        "kvm/conduits" => (two, ONE, "conduits"),
        "kvm/bench-direct" => (two, ONE, "bench rounds=2 interrupts=50 ring=3"),
        "kvm/bench-trapped" => (&["--cpus", "2", "--mode", "trap"], ONE, "bench rounds=2 interrupts=50"),
        "kvm/conformance" => (two, STORES, "conformance"),
        _ => return None,
    })
}

fn run(names: &[&'static str]) -> Result<Vec<Finding>> {
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    };
    Ok(names.iter().map(|name| one(&programs, name)).collect())
}

/// The programs, if there is a KVM that passes the kernel's self-test; otherwise what is missing.
pub(super) fn usable() -> Result<Result<Programs, String>> {
    if !Path::new(KVM).exists() {
        return Ok(Err(KVM.to_owned()));
    }
    let programs = Programs::build()?;
    Ok(match guest(&programs, &[] as &[&str], "selftest") {
        Ok(_) => Ok(programs),
        Err(error) => Err(format!("a KVM that passes the self-test ({})", first_line(&error))),
    })
}

pub(super) fn skipped(name: &str, missing: &str) -> Finding {
    let result = Ok(Verdict::Skipped(missing.to_owned()));
    Finding { name: name.to_owned(), result, took: Duration::ZERO }
}

fn one(programs: &Programs, name: &str) -> Finding {
    let started = Instant::now();
    let result = arguments(name).context("no such case").and_then(|(cpus, devices, words)| {
        let fixed = cpus.iter().chain(devices).map(|word| (*word).to_owned());
        let machine = if name == "kvm/scale" { scale::machine().to_vec() } else { fixed.collect() };
        if name == "kvm/storm-neighbour" {
            return storm::neighbour(programs).map(Verdict::Passed);
        }
        if name == "kvm/failing" {
            return long::fail_a_few(programs);
        }
        match guest(programs, &machine, words) {
            Ok(ran) => checks::check(name, &ran).map(Verdict::Passed),
            // The VMM says what the KVM of this machine cannot do.
            Err(error) if name == "kvm/scale" && error.to_string().contains("this KVM has ") => {
                Ok(Verdict::Skipped("a KVM with 350 vCPUs and APIC ids to 4095".to_owned()))
            }
            Err(error) => Err(error),
        }
    });
    Finding { name: name.to_owned(), result, took: started.elapsed() }
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_its_arguments() {
        for (name, _) in CASES.cases {
            assert!(arguments(name).is_some(), "{name}");
        }
    }
}
