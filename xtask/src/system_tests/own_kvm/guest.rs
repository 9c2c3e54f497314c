//! The test kernel in a VM of this machine.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::build::Programs;
use crate::process::patient_output;

/// How long a guest may say nothing; a software KVM needs a quarter of it for the largest machine.
pub(in crate::system_tests) const SILENCE: Duration = Duration::from_secs(60);

/// A guest that has ended.
pub(in crate::system_tests) struct Ran {
    pub(in crate::system_tests) passed: bool,
    pub(in crate::system_tests) status: ExitStatus,
    /// The guest's events.
    pub(in crate::system_tests) events: Vec<Value>,
    /// The VMM's report; null if it came to none.
    pub(super) report: Value,
    /// What the guest says has failed.
    pub(in crate::system_tests) failed: Vec<String>,
    pub(in crate::system_tests) stderr: String,
}

/// What a run reported, if the guest's verdict is good.
pub(in crate::system_tests) fn guest(
    programs: &Programs,
    machine: &[impl AsRef<OsStr>],
    words: &str,
) -> Result<Ran> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let ran = start(Command::new(pvir), &programs.kernel, machine, words)?;
    if !ran.passed {
        bail!("the guest did not pass ({}): {:?} {}", ran.status, ran.failed, ran.stderr);
    }
    Ok(ran)
}

/// Runs the test kernel to its end, however that is. `command` is `pvir`, or a program with its command line.
pub(in crate::system_tests) fn start(
    mut command: Command,
    kernel: &Path,
    machine: &[impl AsRef<OsStr>],
    words: &str,
) -> Result<Ran> {
    command.args(["run", "--json", "-", "--append", words]).args(machine).arg(kernel);
    finish(&mut command)
}

/// Runs a VMM to its end, however that is, and reads what its guest, the test kernel, has written.
pub(in crate::system_tests) fn finish(command: &mut Command) -> Result<Ran> {
    let output = patient_output(command, SILENCE)?;
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
    // Of a statement that is broken, TAP has the reason in a line of its own.
    let says_so =
        |line: &&str| ["FAILED", "not ok", "  message: "].iter().any(|start| line.starts_with(start));
    Ok(Ran {
        passed: output.status.success() && events.last().is_some_and(|event| event["verdict"] == "pass"),
        status: output.status,
        failed: text.lines().filter(says_so).map(str::to_owned).collect(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        report,
        events,
    })
}
