//! Other programs that embed the library: the test kernel runs under a VMM that is not ours.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::command::in_lab;
use super::own_kvm::{conformance, finish, skipped, usable};
use crate::build::{Programs, apart};
use crate::lab::Options;
use crate::runner::{Batch, Finding, Verdict};

/// The program of `docs/embedding.md`, and its package.
const SMALL_VMM: &str = "pvir-small-vmm";
/// The program of the package around alioth.
const ALIOTH: &str = "pvir-alioth";
/// The case that is the package's own tests.
const IRQFDS: &str = "kvm/alioth-irqfds";
/// How the test kernel's events begin.
const GUEST: &str = "@pvir ";
/// The event that we add behind those of each guest.
const ENDED: &str = "ended";

pub(super) const OWN_KVM: Batch = Batch {
    cases: &[
        ("kvm/alioth-direct", "the main job under alioth, on two emulated devices"),
        ("kvm/alioth-conformance", "every statement of the contract under alioth"),
        (IRQFDS, "alioth's own irqfds have their routes in the table that both share"),
    ],
    run: on_own_kvm,
};

pub(super) const INTEL: Batch = Batch {
    cases: &[
        ("intel/alioth-direct", "the main job under alioth, on VFIO devices that alioth has opened"),
        ("intel/alioth-conformance", "every statement of the contract under alioth, on igb and edu"),
    ],
    run: on_vfio,
};

pub(super) const SMALL: Batch = Batch {
    cases: &[
        ("kvm/small-vmm-direct", "the main job under the VMM of docs/embedding.md"),
        ("kvm/small-vmm-conformance", "every statement of the contract under the VMM of docs/embedding.md"),
    ],
    run: on_small_vmm,
};

/// What the kernel is to do in the case with this name: the last word of it.
fn words(name: &str) -> &str {
    name.rsplit('-').next().unwrap_or(name)
}

fn on_own_kvm(names: &[&'static str]) -> Result<Vec<Finding>> {
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    };
    let program = match apart::build(apart::ALIOTH, ALIOTH)? {
        Ok(program) => program,
        Err(missing) => return Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    };
    let one = |name: &&'static str| {
        let started = Instant::now();
        let result = match *name {
            IRQFDS => apart::test(apart::ALIOTH).map(|()| Verdict::passed()),
            name => run(&program, &programs.kernel, name),
        };
        Finding { name: (*name).to_owned(), result, took: started.elapsed() }
    };
    Ok(names.iter().map(one).collect())
}

fn on_small_vmm(names: &[&'static str]) -> Result<Vec<Finding>> {
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    };
    let program = Programs::build_beside(SMALL_VMM)?;
    let one = |name: &&'static str| {
        let started = Instant::now();
        let mut command = Command::new(&program);
        command.arg(&programs.kernel).arg(words(name));
        let result = passed(name, &mut command);
        Finding { name: (*name).to_owned(), result, took: started.elapsed() }
    };
    Ok(names.iter().map(one).collect())
}

fn run(program: &Path, kernel: &Path, name: &str) -> Result<Verdict> {
    passed(name, Command::new(program).args(["--append", words(name)]).arg(kernel))
}

/// Runs a VMM to its end; its guest must pass.
fn passed(name: &str, command: &mut Command) -> Result<Verdict> {
    let ran = finish(command)?;
    if !ran.passed {
        bail!("the guest did not pass ({}): {:?} {}", ran.status, ran.failed, ran.stderr);
    }
    verdict(name, &ran.events)
}

/// One machine for all cases. A line of ours, in the form of the guest's, stands behind those of each guest.
fn on_vfio(names: &[&'static str]) -> Result<Vec<Finding>> {
    let program = match apart::build(apart::ALIOTH, ALIOTH)? {
        Ok(program) => program,
        Err(missing) => return Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    };
    let payload = tempfile::tempdir()?;
    fs::copy(&program, payload.path().join(ALIOTH))?;
    let options = Options {
        cpus: super::product::ONE_CPU,
        devices: ["igb", "edu"].map(String::from).to_vec(),
        payload: Some(payload.path().to_owned()),
        ..Options::default()
    };
    let all: Vec<&str> = names.iter().map(|name| words(name)).collect();
    let script = format!(
        "for words in {}; do \
         $PVIR_PAYLOAD/{} $(printf -- '--vfio %s ' $PVIR_DEVICES) --append $words $PVIR_KERNEL; \
         printf '{GUEST}{{\"event\":\"{ENDED}\",\"status\":%s}}\\n' $?; \
         done",
        all.join(" "),
        ALIOTH,
    );
    let output = in_lab(&options, &["sh", "-c", &script], b"")?;
    let finding = |name: &str, result| Finding { name: name.to_owned(), result, took: Duration::ZERO };
    if output.status.is_none() {
        return Ok(names.iter().map(|name| finding(name, Ok(Verdict::Interrupted))).collect());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let events = text.lines().filter_map(|line| line.strip_prefix(GUEST)).map(serde_json::from_str);
    let events: Vec<Value> = events.collect::<Result<_, _>>().context("an event that is no JSON")?;
    let runs: Vec<&[Value]> = events.split_inclusive(|event| event["event"] == ENDED).collect();
    ensure!(runs.len() == names.len(), "{} of {} guests: {}", runs.len(), names.len(), output.said());
    let result = |name: &str, run: &[Value]| match run {
        [events @ .., ended] if ended["status"] == 0 => verdict(name, events),
        _ => bail!("the guest did not pass: {:?}\n{}", run.last(), output.said()),
    };
    Ok(names.iter().zip(runs).map(|(name, run)| finding(name, result(name, run))).collect())
}

/// A word about the whole, if the guest's verdict is good.
fn verdict(name: &str, events: &[Value]) -> Result<Verdict> {
    ensure!(events.last().is_some_and(|event| event["verdict"] == "pass"), "{name}: {:?}", events.last());
    if words(name) == "conformance" {
        return conformance(events).map(Verdict::Passed);
    }
    let handled = events.iter().filter(|event| event["event"] == "vector");
    let handled: u64 = handled.filter_map(|event| event["handled"].as_u64()).sum();
    ensure!(handled > 1000, "{handled} interrupts were handled");
    Ok(Verdict::Passed(format!("{handled} interrupts")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::workspace;

    /// Lines of a source file that are neither blank, nor a comment, nor of its tests.
    fn lines_of_code(source: &str) -> usize {
        let lines = source.lines().map(str::trim).take_while(|line| *line != "#[cfg(test)]");
        lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
    }

    #[test]
    fn the_small_vmm_has_250_lines_at_most() {
        let source = workspace::root().join("host/examples/small-vmm/src/main.rs");
        let lines = fs::read_to_string(source).unwrap().lines().count();
        assert!(lines <= 250, "{lines} lines");
    }

    #[test]
    fn the_page_of_alioth_counts_its_lines() {
        let folder = workspace::root().join(apart::ALIOTH);
        let page = fs::read_to_string(folder.join("README.md")).unwrap();
        let count_of = |name: &str| {
            let row = page.lines().find(|line| line.starts_with(&format!("| {name} |")));
            let cell = row.and_then(|row| row.split('|').nth(2)).map(str::trim);
            cell.and_then(|cell| cell.parse::<usize>().ok()).unwrap_or_else(|| panic!("no row for {name}"))
        };
        let mut all = 0;
        for file in fs::read_dir(folder.join("src")).unwrap().flatten() {
            let lines = lines_of_code(&fs::read_to_string(file.path()).unwrap());
            let name = file.file_name().into_string().unwrap();
            assert_eq!(count_of(&format!("`{name}`")), lines, "{name}");
            all += lines;
        }
        assert_eq!(count_of("all"), all);
    }
}
