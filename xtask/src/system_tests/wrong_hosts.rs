//! The proof that the conformance suite bites: hosts that break one statement each, and the suite that must say so.
//!
//! `host/vmm/wrong-hosts` makes them: the VMM with one of its parts wrapped from outside. `list.rs` there has the hosts, and
//! the statement that each breaks.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::command::{Output, in_lab};
use super::own_kvm::{Ran, skipped, start, usable};
use super::product::ONE_CPU;
use crate::build::Programs;
use crate::lab::Options;
use crate::runner::{Batch, Finding, Verdict};

pub(super) const CASE: Batch = Batch {
    cases: &[("kvm/wrong-hosts", "each host that breaks a statement is caught by that statement's test")],
    run: |names| names.iter().map(|name| finding(name)).collect(),
};

/// Where calls from ring 3 reach the host.
pub(super) const INTEL: Batch = Batch {
    cases: &[("intel/wrong-hosts", "a host that serves ring 3 is caught, by instruction and by port")],
    run: |names| names.iter().map(|name| in_ring3(name)).collect(),
};

const LIST: &str = include_str!("../../../host/vmm/wrong-hosts/src/list.rs");
const PROGRAM: &str = "pvir-wrong-hosts";
/// What the program calls the host of which nothing is wrong.
const HONEST: &str = "honest";
/// The host that advertises the CPU's hypercall instruction and does not take it, and the names of these conduits.
const NOT_TAKEN: &str = "hypercall-not-taken";
const INSTRUCTIONS: [&str; 2] = ["vmcall", "vmmcall"];
/// The host that serves ring 3, and its statements. The first is skipped where the processor, or KVM, refuses what ring 3
/// could call by; nobody hears of that host there.
const RING3: &str = "ring3-taken";
const RING3_STATEMENTS: [&str; 2] = ["PRIVILEGE", "C4"];
/// VMs at a time: their boot takes one CPU, and then they mostly wait.
const AT_ONCE: usize = 2;
/// Three vCPUs, so that a choice among them is more than odd and even, a device for each store, and one more that has no
/// right to the first one's pairs.
const MACHINE: [&str; 8] = [
    "--cpus",
    "3",
    "--device",
    "emulated,vectors=10",
    "--device",
    "emulated,store=msi,vectors=8",
    "--device",
    "emulated,vectors=2",
];
/// Milliseconds that the suite waits for what never comes.
const PATIENCE: u32 = 1000;

fn finding(name: &str) -> Result<Finding> {
    let started = Instant::now();
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(skipped(name, &missing)),
    };
    let program = Programs::build_beside(PROGRAM);
    let result = program.and_then(|program| all(&program, &programs.kernel));
    Ok(Finding { name: name.to_owned(), result, took: started.elapsed() })
}

/// Name of each wrong host, and the statement that it breaks.
fn hosts() -> Vec<(&'static str, &'static str)> {
    let of = |line: &'static str| {
        let (name, statement) = line.trim().split_once(" = \"")?.1.split_once("\" breaks \"")?;
        Some((name, statement.strip_suffix("\",")?))
    };
    LIST.lines().filter_map(of).collect()
}

fn all(program: &Path, kernel: &Path) -> Result<Verdict> {
    let mut hosts = hosts();
    let statements: Vec<&str> = hosts.iter().map(|(_, statement)| *statement).collect();
    // As patient as the suite is by itself: a busy machine is no wrong host.
    let all = format!("conformance only={}", statements.join(","));
    let right = start(host(program, HONEST), kernel, &MACHINE, &all)?;
    ensure!(
        right.passed,
        "the same host, not made wrong, does not pass ({}): {:?} {}",
        right.status,
        right.failed,
        right.stderr
    );
    for statement in &statements {
        let said = outcome(&right, statement)?;
        if *statement == RING3_STATEMENTS[0] && said == "skip" {
            continue;
        }
        ensure!(said == "ok", "{statement} is not judged on the right host: {said}");
    }
    // Where the VMM takes the instruction that its CPU has, it cannot be advertised falsely.
    let taken = |event: &Value| {
        let of_instruction = INSTRUCTIONS.contains(&event["name"].as_str().unwrap_or_default());
        event["event"] == "conduit" && of_instruction && event["outcome"] == "works"
    };
    if right.events.iter().any(taken) {
        hosts.retain(|(name, _)| *name != NOT_TAKEN);
    }
    let vacuous = outcome(&right, RING3_STATEMENTS[0])? == "skip";
    hosts.retain(|(name, _)| *name != RING3 || !vacuous);
    let missed = side_by_side(&hosts, |(name, statement)| {
        let said = on_wrong_host(program, kernel, name, statement);
        let said = said.unwrap_or_else(|error| format!("{error:#}"));
        (said != "FAILED").then(|| format!("{name} keeps {statement}: {said}"))
    });
    ensure!(missed.is_empty(), "not caught: {}", missed.join("; "));
    let beside = if vacuous { "; none calls from ring 3 here, see intel/wrong-hosts" } else { "" };
    Ok(Verdict::Passed(format!("{} wrong hosts, each caught by its statement{beside}", hosts.len())))
}

fn in_ring3(name: &str) -> Result<Finding> {
    let program = Programs::build_beside(PROGRAM)?;
    let payload = tempfile::tempdir()?;
    fs::copy(&program, payload.path().join(PROGRAM))?;
    let options = Options { cpus: ONE_CPU, payload: Some(payload.path().to_owned()), ..Options::default() };
    let script = format!(
        "for host in {HONEST} {RING3}; do \
         $PVIR_PAYLOAD/{PROGRAM} $host run --device emulated --append 'conformance only={}' $PVIR_KERNEL; \
         done",
        RING3_STATEMENTS.join(",")
    );
    let started = Instant::now();
    let output = in_lab(&options, &["sh", "-c", &script], b"")?;
    let result = match output.status {
        None => Ok(Verdict::Interrupted),
        Some(_) => refused_and_served(&output),
    };
    Ok(Finding { name: name.to_owned(), result, took: started.elapsed() })
}

/// What the guest says of ring 3 on the honest host, and then on the other.
fn refused_and_served(output: &Output) -> Result<Verdict> {
    let text = String::from_utf8_lossy(&output.stdout);
    let events = text.lines().filter_map(|line| line.strip_prefix("@pvir ")).map(serde_json::from_str);
    let events: Vec<Value> = events.collect::<Result<_, _>>().context("an event that is no JSON")?;
    let statements = events.iter().filter(|event| event["event"] == "statement");
    let said: Vec<(&str, &str)> = statements
        .map(|event| {
            (event["id"].as_str().unwrap_or_default(), event["outcome"].as_str().unwrap_or_default())
        })
        .collect();
    for (statement, outcomes) in RING3_STATEMENTS.map(|statement| (statement, ["ok", "FAILED"])) {
        let of = said.iter().filter(|(id, _)| *id == statement).map(|(_, outcome)| *outcome);
        let of: Vec<&str> = of.collect();
        ensure!(of == outcomes, "{statement}: {of:?}, not {outcomes:?}; {}", output.said());
    }
    Ok(Verdict::Passed(format!("{} not ok on {RING3}", RING3_STATEMENTS.join(" and "))))
}

/// Does the work for each host, for a few at a time; what it finds wrong is the answer.
pub(super) fn side_by_side<H: Sync>(hosts: &[H], work: impl Fn(&H) -> Option<String> + Sync) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(finding) = work(host) {
                found.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(worker);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The VMM on the host of this name.
fn host(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(name);
    command
}

/// What the guest says of a statement on the host that breaks it.
fn on_wrong_host(program: &Path, kernel: &Path, name: &str, statement: &str) -> Result<String> {
    let one = format!("conformance patience={PATIENCE} only={statement}");
    let ran = start(host(program, name), kernel, &MACHINE, &one)?;
    outcome(&ran, statement)
}

/// What the guest says of a statement.
fn outcome(ran: &Ran, statement: &str) -> Result<String> {
    let of = ran.events.iter().find(|event| event["event"] == "statement" && event["id"] == statement);
    let of = of.with_context(|| format!("{statement} was not judged ({}): {}", ran.status, ran.stderr))?;
    Ok(of["outcome"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_whole() {
        let hosts = hosts();
        assert_eq!(hosts.len(), LIST.matches(" breaks \"").count());
        assert!(hosts.len() >= 15 && hosts.contains(&("pair-of-another-entry", "M1")), "{hosts:?}");
    }
}
