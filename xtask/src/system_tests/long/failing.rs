//! Calls into the real kernel that fail, as strace makes them: of a VM's descriptor while its guest asks for interrupts, and of
//! any kind while a VM starts.
//!
//! strace answers a call in the kernel's place, with a number that the sandbox has no rule for. So these VMs run with
//! `--sandbox off`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build::Programs;
use crate::process::{self, patient_output};
use crate::runner::Verdict;
use crate::system_tests::own_kvm::{SILENCE, finish};

/// Errnos that are injected.
pub(crate) const ERRNOS: [&str; 8] =
    ["EIO", "ENOMEM", "ENOSPC", "EINVAL", "EBUSY", "EINTR", "EAGAIN", "EMFILE"];
/// The descriptor of a VM, as the kernel calls it: routings and irqfds are calls of it.
const VM: &str = "anon_inode:kvm-vm";
/// The first call of a VM that fails: those before it make the machine.
const MADE: u64 = 24;
/// Exit status of a program that panicked.
const PANICKED: i32 = 101;
/// What Rust's standard library says, and ends the process, where it gets no stack for its handler of stack overflows: before
/// `main`, and at the start of each thread. A program has no say in it.
const OF_THE_RUNTIME: [&str; 2] =
    ["library/std/src/sys/pal/unix/stack_overflow.rs:", "failed to allocate an alternative stack: "];
const RUN: [&str; 8] =
    ["run", "--sandbox", "off", "--cpus", "1", "--device", "emulated,vectors=4", "--append"];

/// What a guest says that did not get an interrupt.
const LOST: &str = r#"{"event":"check","name":"delivered","outcome":"FAILED""#;

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Injected {
    /// Calls that were made to fail.
    pub(crate) faults: u64,
    /// Requests of the guest that were refused because of it, and how many it made.
    pub(crate) refused: u64,
    pub(crate) requests: u64,
}

fn strace(log: &Path, what: &[&str]) -> Result<Command> {
    let strace = process::find("strace").context("this is missing: strace")?;
    let mut command = Command::new(strace);
    command.args(["--follow-forks", "--quiet=all", "--signal=none"]).arg("--output").arg(log).args(what);
    Ok(command)
}

/// How often strace has written that it did it.
fn injected(log: &Path) -> u64 {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter(|line| line.contains("(INJECTED)")).count() as u64
}

/// Each call of the VM whose number is a multiple of `step`, from behind its start on, fails with this errno. The guest is told,
/// finds everything as it was, and is granted what it asks for again; an error otherwise.
pub(crate) fn inject(programs: &Programs, errno: &str, step: u64) -> Result<Injected> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("strace");
    let inject = format!("inject=ioctl:error={errno}:when={MADE}+{step}");
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let mut command = strace(&log, &["--trace-path", VM, "-e", &inject])?;
    command.arg(pvir).args(["run", "--json", "-", "--sandbox", "off", "--rate-limit", "off", "--cpus", "1"]);
    command.args(["--device", "emulated,vectors=4", "--append", "failing rounds=12"]).arg(&programs.kernel);
    let ran = finish(&mut command)?;
    let faults = injected(&log);
    ensure!(
        ran.passed,
        "{errno}, each call of {step}: after {faults} faults {}: {:?}\n{}",
        ran.status,
        ran.failed,
        ran.stderr
    );
    let event = ran.events.iter().find(|event| event["event"] == "failing").context("no event `failing`")?;
    let number = |key: &str| event[key].as_u64().unwrap_or(0);
    Ok(Injected { faults, refused: number("refused"), requests: number("requests") })
}

/// What came of a call that was to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Met {
    /// It was never made.
    NotMade,
    /// It was Rust's standard library's own, which ended the process.
    OfTheRuntime,
    /// `pvir` went on, or ended with an error that it told.
    Told,
}

/// The call `name` fails once, the one with this number from 1 in each thread, while a VM starts and runs to its end; an error if
/// `pvir` does not take it well.
pub(crate) fn start_up(programs: &Programs, name: &str, number: u64, errno: &str) -> Result<Met> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("strace");
    let inject = format!("inject={name}:error={errno}:when={number}");
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let mut command = strace(&log, &["-e", &inject])?;
    command.arg(pvir).args(RUN).arg("direct interrupts=20").arg(&programs.kernel);
    let output = patient_output(&mut command, SILENCE)?;
    if injected(&log) == 0 {
        return Ok(Met::NotMade);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if is_of_the_runtime(&said) {
        return Ok(Met::OfTheRuntime);
    }
    let what = format!("{name} number {number} with {errno}: {}: {said}", output.status);
    match output.status.code() {
        None => bail!("ended by a signal: {what}"),
        Some(PANICKED) => bail!("a panic: {what}"),
        Some(0) => {}
        // What an emulated device raises by a write that fails is lost, and its guest says so.
        Some(_) if name == "write" && String::from_utf8_lossy(&output.stdout).contains(LOST) => {}
        Some(_) => ensure!(!said.trim().is_empty(), "no reason was told: {what}"),
    }
    Ok(Met::Told)
}

/// Whether the first panic, if there was one, is that of the standard library.
fn is_of_the_runtime(said: &str) -> bool {
    let mut lines = said.lines().skip_while(|line| !line.contains(" panicked at "));
    let [place, message] = OF_THE_RUNTIME;
    lines.next().is_some_and(|line| line.contains(place))
        && lines.next().is_some_and(|line| line.starts_with(message))
}

/// What the suite does of it, where strace is and may be used.
pub(in crate::system_tests) fn a_few(programs: &Programs) -> Result<Verdict> {
    let Some(strace) = process::find("strace") else {
        return Ok(Verdict::Skipped("strace".to_owned()));
    };
    let tried = Command::new(strace).args(["--quiet=all", "-e", "trace=none", "true"]).output()?;
    if !tried.status.success() {
        return Ok(Verdict::Skipped("a strace that may look at a program".to_owned()));
    }
    let [io, memory] = [("EIO", 7), ("ENOMEM", 5)].map(|(errno, step)| inject(programs, errno, step));
    let (io, memory) = (io?, memory?);
    let (faults, refused) = (io.faults + memory.faults, io.refused + memory.refused);
    ensure!(faults > 0 && refused > 0, "{faults} faults, {refused} of them told to the guest");
    let requests = io.requests + memory.requests;
    Ok(Verdict::Passed(format!(
        "{faults} faults, {refused} of {requests} requests refused, granted afterwards"
    )))
}

/// Nothing is left of the runs before: a VM works.
pub(crate) fn works(programs: &Programs) -> Result<()> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let mut command = Command::new(pvir);
    command.args(RUN).arg("direct interrupts=20").arg(&programs.kernel).stdin(Stdio::null());
    let output = patient_output(&mut command, SILENCE)?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_standard_library_is_told_from_all_others() {
        let runtime = "\nthread 'main' (8507) panicked at \
                       /rustc/59807616/library/std/src/sys/pal/unix/stack_overflow.rs:236:13:\n\
                       failed to allocate an alternative stack: No space left on device (os error 28)\nstack";
        assert!(is_of_the_runtime(runtime));
        let own = "thread 'main' (1) panicked at host/vmm/src/main.rs:3:1:\n\
                   failed to allocate an alternative stack: it says so";
        assert!(!is_of_the_runtime(own));
        assert!(!is_of_the_runtime(&format!("{own}\n{runtime}")));
        assert!(!is_of_the_runtime("failed to allocate an alternative stack: No space left on device"));
        assert!(!is_of_the_runtime(&runtime.replace("alternative", "guarded")));
    }
}
