//! The test kernel in a VM of this machine.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::build::Programs;

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
pub(super) fn guest(
    programs: &Programs,
    limit: u64,
    machine: &[impl AsRef<OsStr>],
    words: &str,
) -> Result<Ran> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let ran = start(pvir, &programs.kernel, limit, machine, words)?;
    if !ran.passed {
        bail!("the guest did not pass ({}): {:?} {}", ran.status, ran.failed, ran.stderr);
    }
    Ok(ran)
}

/// Runs the test kernel to its end, however that is.
pub(in crate::system_tests) fn start(
    pvir: &Path,
    kernel: &Path,
    limit: u64,
    machine: &[impl AsRef<OsStr>],
    words: &str,
) -> Result<Ran> {
    let mut command = Command::new(pvir);
    command
        .args(["run", "--json", "-", "--timeout", &limit.to_string(), "--append", words])
        .args(machine)
        .arg(kernel);
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
    let says_so = |line: &&str| line.starts_with("FAILED") || line.starts_with("not ok");
    Ok(Ran {
        passed: output.status.success() && events.last().is_some_and(|event| event["verdict"] == "pass"),
        status: output.status,
        failed: text.lines().filter(says_so).map(str::to_owned).collect(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        report,
        events,
    })
}

/// Runs a program that must end, even if it does not keep its own limit.
pub(in crate::system_tests) fn bounded(command: &mut Command, limit: u64) -> Result<Output> {
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
    Ok(Output { status, stdout: stdout?, stderr: stderr? })
}
