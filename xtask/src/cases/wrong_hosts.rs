//! The proof that the conformance suite bites: hosts that break one statement each, and the suite that must say so.
//!
//! `host/src/wrong/list.rs` has the hosts, and the statement that each breaks.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::own_kvm::{LIMIT, Ran, skipped, start, usable};
use crate::test::{Batch, Finding, Verdict};
use crate::workspace;

pub(super) const CASE: Batch = Batch {
    cases: &[("kvm/wrong-hosts", "each host that breaks a statement is caught by that statement's test")],
    run: |names| names.iter().map(|name| finding(name)).collect(),
};

const LIST: &str = include_str!("../../../host/src/wrong/list.rs");
/// The feature that makes them.
const FEATURE: &str = "wrong-host";
const MACHINE: [&str; 4] = ["--cpus", "2", "--device", "emulated,vectors=10"];
/// Milliseconds that the suite waits for what never comes.
const PATIENCE: u32 = 1000;

fn finding(name: &str) -> Result<Finding> {
    let started = Instant::now();
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(skipped(name, &missing)),
    };
    let result = build().and_then(|pvir| all(&pvir, &programs.kernel));
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

/// A host that can be made wrong: not for release, so in the other profile.
fn build() -> Result<PathBuf> {
    let target_dir = workspace::target_dir(FEATURE);
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--package", "pvir-host", "--bin", "pvir", "--features", FEATURE]);
    cargo.arg("--target-dir").arg(&target_dir);
    workspace::run_build(&mut cargo, "a pvir that can be wrong")?;
    Ok(target_dir.join("debug").join("pvir"))
}

fn all(pvir: &std::path::Path, kernel: &std::path::Path) -> Result<Verdict> {
    let hosts = hosts();
    let statements: Vec<&str> = hosts.iter().map(|(_, statement)| *statement).collect();
    // As patient as the suite is by itself: a busy machine is no wrong host.
    let all = format!("conformance only={}", statements.join(","));
    let right = start(pvir, kernel, LIMIT, &MACHINE, &all)?;
    ensure!(
        right.passed,
        "the same host, not made wrong, does not pass ({}): {:?} {}",
        right.status,
        right.failed,
        right.stderr
    );
    for statement in &statements {
        let said = outcome(&right, statement)?;
        ensure!(said == "ok", "{statement} is not judged on the right host: {said}");
    }
    let mut missed = Vec::new();
    for (name, statement) in &hosts {
        let arguments = [&MACHINE[..], &["--wrong", name]].concat();
        let one = format!("conformance patience={PATIENCE} only={statement}");
        let ran = start(pvir, kernel, LIMIT, &arguments, &one).with_context(|| (*name).to_owned())?;
        let said = outcome(&ran, statement).with_context(|| (*name).to_owned())?;
        if said != "FAILED" {
            missed.push(format!("{name} keeps {statement}: {said}"));
        }
    }
    if !missed.is_empty() {
        bail!("not caught: {}", missed.join("; "));
    }
    Ok(Verdict::Passed(format!("{} wrong hosts, each caught by its statement", hosts.len())))
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
