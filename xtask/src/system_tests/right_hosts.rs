//! Hosts that keep the contract and are not `pvir` as it is usually run: the conformance suite must not call them wrong,
//! and must judge what can be judged.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::own_kvm::{skipped, start, usable};
use super::wrong_hosts::side_by_side;
use crate::build::Programs;
use crate::runner::{Batch, Finding, Verdict};

pub(super) const CASE: Batch = Batch {
    cases: &[(
        "kvm/right-hosts",
        "the suite on hosts with few records, small quotas, small devices, or none, and on one that refuses",
    )],
    run: |names| names.iter().map(|name| finding(name)).collect(),
};

/// A host of `host/vmm/wrong-hosts` on which nothing is wrong, arguments of its machine, which statements, the verdict of
/// the suite, and how much of it must be judged.
type RightHost = (&'static str, &'static [&'static str], &'static str, &'static str, u64);

const TEN: &[&str] = &["--device", "emulated,vectors=10"];
const MSI: &[&str] = &["--device", "emulated,store=msi,vectors=8"];
const ALL: &str = "conformance patience=2000";
/// Those that map several entries, or all messages.
const SEVERAL: &str = "conformance patience=2000 only=M1,M5,M9,M10,M11,U2,Q1,E5";
const HOSTS: [RightHost; 11] = [
    ("records-1", TEN, ALL, "pass", 100),
    ("records-2", TEN, ALL, "pass", 100),
    ("records-16", TEN, ALL, "pass", 105),
    ("honest", &["--device", "emulated,vectors=10", "--max-irtes-per-device", "3"], ALL, "pass", 105),
    ("honest", &[TEN[0], TEN[1], MSI[0], MSI[1], "--max-irtes", "2"], SEVERAL, "pass", 8),
    ("honest", &[TEN[0], TEN[1], MSI[0], MSI[1], "--max-irtes-per-device", "1"], SEVERAL, "pass", 5),
    ("honest", MSI, SEVERAL, "pass", 6),
    ("honest", &["--device", "emulated,vectors=2"], ALL, "pass", 100),
    ("honest", &["--device", "emulated,vectors=1"], ALL, "pass", 95),
    ("honest", &[], ALL, "little", 30),
    ("refuses", TEN, ALL, "little", 28),
];

fn finding(name: &str) -> Result<Finding> {
    let started = Instant::now();
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(skipped(name, &missing)),
    };
    let result = Programs::build_beside("pvir-wrong-hosts").and_then(|program| {
        let wrong = side_by_side(&HOSTS, |host| {
            judge(&program, &programs.kernel, host).err().map(|error| format!("{error:#}"))
        });
        ensure!(wrong.is_empty(), "{}", wrong.join("; "));
        Ok(Verdict::Passed(format!("{} hosts, none called wrong", HOSTS.len())))
    });
    Ok(Finding { name: name.to_owned(), result, took: started.elapsed() })
}

fn judge(program: &Path, kernel: &Path, (host, machine, words, verdict, least): &RightHost) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(host);
    let machine: Vec<&str> = ["--cpus", "2"].iter().chain(*machine).copied().collect();
    let ran = start(command, kernel, &machine, words)?;
    let what = || format!("{host} {}", machine.join(" "));
    ensure!(ran.failed.is_empty(), "{}: called wrong: {:?} {}", what(), ran.failed, ran.stderr);
    let last = ran.events.last().cloned().unwrap_or_default();
    ensure!(last["verdict"] == *verdict, "{}: the verdict is {}, not {verdict}", what(), last["verdict"]);
    let judged = last["passed"].as_u64().unwrap_or(0);
    ensure!(judged >= *least, "{}: {judged} judged, at least {least} can be", what());
    Ok(())
}
