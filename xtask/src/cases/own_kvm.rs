//! The machine's own KVM, with the emulated device: no VFIO, but real irqfds. Skipped where there is no KVM, or where
//! it cannot run the kernel's self-test in time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::programs::Programs;
use crate::scale;
use crate::test::{Batch, Finding, Verdict};

const KVM: &str = "/dev/kvm";
/// Seconds that a run may take; a software KVM needs a few.
pub(super) const LIMIT: u64 = 60;
/// Seconds for the largest machine, and for thousands of entries.
const LONG_LIMIT: u64 = 240;

pub(super) const CASES: Batch = Batch {
    cases: &[
        ("kvm/direct-msr", "the main job with two vCPUs, by MSR"),
        ("kvm/direct-port", "the main job with two vCPUs, by port"),
        ("kvm/direct-four-cpus", "the main job with four vCPUs"),
        ("kvm/apic300", "the main job with APIC ids 0 and 300"),
        ("kvm/refusals-msr", "bad input, by MSR"),
        ("kvm/refusals-port", "bad input, by port"),
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
        ("kvm/scale", "2,048 entries, 350 vCPUs, APIC ids to 4095: a part of all pairs"),
        ("kvm/limits", "two devices ask for more IRTEs than there are"),
        ("kvm/quotas", "the quotas of a VM and of a device, run into"),
        ("kvm/several", "three devices in one call: interrupts of all, none mixed"),
        ("kvm/conduits", "exits and ioctls of a call by each conduit"),
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
        // With the machine and the device of `run.sh scale`.
        "kvm/scale" => (&[], &[], "scale rounds=6"),
        "kvm/limits" => (&["--cpus", "1"], LARGE, "limits"),
        "kvm/quotas" => (&["--cpus", "2", "--max-irtes", "6", "--max-irtes-per-device", "4"], TWO, "quotas"),
        "kvm/several" => (two, THREE, "several"),
        "kvm/conduits" => (two, ONE, "conduits"),
        _ => return None,
    })
}

fn run(names: &[&'static str]) -> Result<Vec<Finding>> {
    let unusable = if Path::new(KVM).exists() {
        let programs = Programs::build()?;
        match run_guest(&programs, LIMIT, &[], "selftest") {
            Ok(_) => return Ok(names.iter().map(|name| one(&programs, name)).collect()),
            Err(error) => format!("a KVM that passes the self-test ({})", first_line(&error)),
        }
    } else {
        KVM.to_owned()
    };
    let skipped = |name: &&'static str| Finding {
        name: (*name).to_owned(),
        result: Ok(Verdict::Skipped(unusable.clone())),
        took: Duration::ZERO,
    };
    Ok(names.iter().map(skipped).collect())
}

fn one(programs: &Programs, name: &str) -> Finding {
    let started = Instant::now();
    let result = arguments(name).context("no such case").and_then(|(cpus, devices, words)| {
        let fixed = cpus.iter().chain(devices).map(|word| (*word).to_owned());
        let (limit, machine) = match name {
            "kvm/scale" => (LONG_LIMIT, scale::machine().to_vec()),
            "kvm/limits" => (LONG_LIMIT, fixed.collect()),
            _ => (LIMIT, fixed.collect()),
        };
        match run_guest(programs, limit, &machine, words) {
            Ok(told) => judge(name, &told).map(Verdict::Passed),
            // The VMM says what the KVM of this machine cannot do.
            Err(error) if name == "kvm/scale" && error.to_string().contains("this KVM has ") => {
                Ok(Verdict::Skipped("a KVM with 350 vCPUs and APIC ids to 4095".to_owned()))
            }
            Err(error) => Err(error),
        }
    });
    Finding { name: name.to_owned(), result, took: started.elapsed() }
}

/// What a run told.
struct Told {
    /// The guest's events.
    events: Vec<Value>,
    /// The VMM's report.
    report: Value,
}

/// What the guest does not judge itself, and a word about the whole.
fn judge(name: &str, told: &Told) -> Result<String> {
    let events = &told.events;
    let checks = events.iter().filter(|event| event["event"] == "check" && event["outcome"] == "ok").count();
    if name == "kvm/apic300" {
        let there = events.iter().filter(|event| event["event"] == "vector" && event["apic_id"] == 300);
        let handled: u64 = there.filter_map(|event| event["handled"].as_u64()).sum();
        ensure!(handled >= 500, "{handled} interrupts handled by APIC id 300");
        return Ok(format!("{handled} handled by the CPU with APIC id 300"));
    }
    if name == "kvm/scale" {
        let told = events.iter().find(|event| event["event"] == "scale").context("no event `scale`")?;
        let number = |key: &str| told[key].as_u64().unwrap_or(0);
        let exact = (number("entries"), number("cpus"), number("highest_apic_id"), number("missing"));
        ensure!(exact == (2048, 350, 4095, 0) && number("elsewhere") == 0, "{told}");
        let (pairs, all) = (number("pairs"), number("pairs_all"));
        return Ok(format!("{} interrupts, {pairs} of {all} pairs of entry and CPU", number("handled")));
    }
    if name.starts_with("kvm/blocked") {
        let foreign =
            events.iter().find(|event| event["name"] == "foreign-pair" && event["event"] == "check");
        ensure!(
            foreign.is_some_and(|event| event["outcome"] == "ok"),
            "no foreign pair was tried: {foreign:?}"
        );
    }
    match name {
        "kvm/conduits" => return conduits(told),
        "kvm/quotas" => ensure!(no_skips(events), "the quotas were not reached"),
        _ => {}
    }
    let handled: u64 = events
        .iter()
        .filter(|event| event["event"] == "vector")
        .filter_map(|event| event["handled"].as_u64())
        .sum();
    Ok(format!("{checks} checks, {handled} interrupts"))
}

fn no_skips(events: &[Value]) -> bool {
    !events.iter().any(|event| event["event"] == "check" && event["outcome"] == "skip")
}

/// Exits and ioctls of the whole run: all of them are accounted for.
fn conduits(told: &Told) -> Result<String> {
    let Told { events, report } = told;
    let of = |map: &str, name: &str| report[map][name].as_u64().unwrap_or(0);
    let mut shown = Vec::new();
    for event in events.iter().filter(|event| event["event"] == "conduit") {
        let (name, calls) =
            (event["name"].as_str().unwrap_or_default(), event["calls"].as_u64().unwrap_or(0));
        let exits: &[String] = &match name {
            "msr" | "port" => vec![format!("pvir-{name}"), format!("pvir-status-{name}")],
            _ => vec!["pvir-vmcall".to_owned()],
        };
        ensure!(calls > 100, "{calls} calls by {name}");
        for exit in exits {
            ensure!(of("exits", exit) == calls, "{} exits {exit} for {calls} calls", of("exits", exit));
        }
        shown.push(format!("{name} {} exits, {} cycles", exits.len(), event["cycles"]));
    }
    ensure!(shown.len() >= 2, "conduits tried: {shown:?}");
    // one for each of two vCPUs when it was made, and one for the first call by port where the level comes along from
    // then on; a KVM that cannot do so needs one for each
    let levels = of("ioctls", "KVM_GET_SREGS") - 2;
    let by_port = of("exits", "pvir-port");
    ensure!(levels == 1 || levels == by_port, "{levels} times KVM_GET_SREGS for {by_port} calls by port");
    ensure!(of("ioctls", "KVM_GET_REGS") == 0, "registers were read");
    Ok(format!("a call: {}; KVM_GET_SREGS {levels} in {by_port} calls by port", shown.join(", ")))
}

/// What a run told, if the guest's verdict is good.
fn run_guest(programs: &Programs, limit: u64, machine: &[String], words: &str) -> Result<Told> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let mut command = Command::new(pvir);
    command
        .args(["run", "--json", "-", "--timeout", &limit.to_string(), "--append", words])
        .args(machine)
        .arg(&programs.kernel);
    let output = bounded(&mut command, limit)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let marked =
        |mark| text.lines().filter_map(move |line| line.strip_prefix(mark)).map(serde_json::from_str);
    let events: Vec<Value> =
        marked("@pvir ").collect::<Result<_, _>>().context("an event that is no JSON")?;
    let report = marked("@pvir-host ")
        .next_back()
        .transpose()
        .context("a report that is no JSON")?
        .unwrap_or_default();
    let passed = output.status.success() && events.last().is_some_and(|event| event["verdict"] == "pass");
    if !passed {
        let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("FAILED")).collect();
        bail!(
            "the guest did not pass ({}): {failed:?} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(Told { events, report })
}

/// Runs a program that must end, even if it does not keep its own limit.
pub(super) fn bounded(command: &mut Command, limit: u64) -> Result<std::process::Output> {
    let folder = tempfile::tempdir()?;
    let files = ["stdout", "stderr"].map(|name| folder.path().join(name));
    command.stdin(Stdio::null());
    command.stdout(fs::File::create(&files[0])?).stderr(fs::File::create(&files[1])?);
    let mut child = command.spawn().context("cannot start pvir")?;
    let deadline = Instant::now() + Duration::from_secs(limit + 30);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("pvir did not end in {} s although --timeout was {limit}", limit + 30);
        }
        thread::sleep(Duration::from_millis(20));
    };
    let [stdout, stderr] = files.map(fs::read);
    Ok(std::process::Output { status, stdout: stdout?, stderr: stderr? })
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
