//! The machine's own KVM, with the emulated device: no VFIO, but real irqfds. Skipped where there is no KVM, or where
//! it cannot run the kernel's self-test in time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::programs::Programs;
use crate::test::{Batch, Finding, Verdict};

const KVM: &str = "/dev/kvm";
/// Seconds that a run may take; a software KVM needs a few.
const LIMIT: &str = "60";

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
        ("kvm/conformance", "every statement of the contract, on the emulated device"),
    ],
    run,
};

const ONE: &[&str] = &["--device", "emulated,vectors=10"];
/// MSI-X and IMS, and MSI of several messages.
const STORES: &[&str] = &["--device", "emulated,vectors=10", "--device", "emulated,store=msi,vectors=8"];
const TWO: &[&str] = &["--device", "emulated,vectors=10", "--device", "emulated"];

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
    Ok(match guest(&programs, &[], &[], "selftest") {
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
        let events = guest(programs, cpus, devices, words)?;
        judge(name, &events).map(Verdict::Passed)
    });
    Finding { name: name.to_owned(), result, took: started.elapsed() }
}

/// What the guest does not judge itself, and a word about the whole.
fn judge(name: &str, events: &[Value]) -> Result<String> {
    if name == "kvm/conformance" {
        return conformance(events);
    }
    let checks = events.iter().filter(|event| event["event"] == "check" && event["outcome"] == "ok").count();
    if name == "kvm/apic300" {
        let there = events.iter().filter(|event| event["event"] == "vector" && event["apic_id"] == 300);
        let handled: u64 = there.filter_map(|event| event["handled"].as_u64()).sum();
        ensure!(handled >= 500, "{handled} interrupts handled by APIC id 300");
        return Ok(format!("{handled} handled by the CPU with APIC id 300"));
    }
    if name.starts_with("kvm/blocked") {
        let foreign =
            events.iter().find(|event| event["name"] == "foreign-pair" && event["event"] == "check");
        ensure!(
            foreign.is_some_and(|event| event["outcome"] == "ok"),
            "no foreign pair was tried: {foreign:?}"
        );
    }
    let handled: u64 = events
        .iter()
        .filter(|event| event["event"] == "vector")
        .filter_map(|event| event["handled"].as_u64())
        .sum();
    Ok(format!("{checks} checks, {handled} interrupts"))
}

/// How many statements were judged, none of which may be broken.
fn conformance(events: &[Value]) -> Result<String> {
    let result = events.last().context("no result")?;
    let number = |key: &str| result[key].as_u64().with_context(|| format!("no {key} in {result}"));
    let (all, kept, broken) = (number("statements")?, number("passed")?, number("failed")?);
    let (skipped, hidden) = (number("skipped")?, number("hidden")?);
    ensure!(broken == 0 && kept + skipped + hidden == all && kept > all / 2, "{result}");
    Ok(format!(
        "{all} statements and statuses: {kept} judged and kept, {skipped} skipped, {hidden} not observable"
    ))
}

/// The guest's events, if its verdict is good.
fn guest(programs: &Programs, cpus: &[&str], devices: &[&str], words: &str) -> Result<Vec<Value>> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let arguments = [cpus, devices].concat();
    let ran = start(pvir, &programs.kernel, &arguments, words)?;
    if !ran.passed {
        bail!("the guest did not pass ({}): {:?} {}", ran.status, ran.failed, ran.stderr);
    }
    Ok(ran.events)
}

/// A guest that has ended.
pub(super) struct Ran {
    pub(super) passed: bool,
    pub(super) status: std::process::ExitStatus,
    pub(super) events: Vec<Value>,
    /// What it says has failed.
    failed: Vec<String>,
    pub(super) stderr: String,
}

/// Runs the test kernel in a VM of this machine.
pub(super) fn start(pvir: &Path, kernel: &Path, arguments: &[&str], words: &str) -> Result<Ran> {
    let mut command = Command::new(pvir);
    command.args(["run", "--timeout", LIMIT, "--append", words]).args(arguments).arg(kernel);
    let output = bounded(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.strip_prefix("@pvir "));
    let events: Vec<Value> =
        lines.map(serde_json::from_str).collect::<Result<_, _>>().context("an event that is no JSON")?;
    let says_so = |line: &&str| line.starts_with("FAILED") || line.starts_with("not ok");
    Ok(Ran {
        passed: output.status.success() && events.last().is_some_and(|event| event["verdict"] == "pass"),
        status: output.status,
        failed: text.lines().filter(says_so).map(str::to_owned).collect(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        events,
    })
}

/// Runs a program that must end, even if it does not keep its own limit.
fn bounded(command: &mut Command) -> Result<std::process::Output> {
    let folder = tempfile::tempdir()?;
    let files = ["stdout", "stderr"].map(|name| folder.path().join(name));
    command.stdin(Stdio::null());
    command.stdout(fs::File::create(&files[0])?).stderr(fs::File::create(&files[1])?);
    let mut child = command.spawn().context("cannot start pvir")?;
    let deadline = Instant::now() + Duration::from_secs(90);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("pvir did not end in 90 s although --timeout was {LIMIT}");
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
