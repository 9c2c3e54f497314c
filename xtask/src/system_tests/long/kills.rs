//! `pvir` is killed at points that lie evenly over a run: nothing is left of it, and the next one works.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::failing;
use crate::build::Programs;

/// A folder for each VM, where the kernel shows them.
const VMS: &str = "/sys/kernel/debug/kvm";
/// The kernel closes a process's files after it is seen to have ended.
const PATIENCE: Duration = Duration::from_secs(10);

fn start(programs: &Programs) -> Result<Child> {
    let pvir = programs.on_path.first().context("no pvir was built")?;
    let mut command = Command::new(pvir);
    command.args(["run", "--cpus", "2", "--storm-limit", "off", "--rate-limit", "off"]);
    command.args(["--device", "emulated,vectors=16", "--append", "retargets rounds=4 free=20"]);
    command.arg(&programs.kernel).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot start pvir")
}

/// How long such a run takes that nobody kills.
pub(crate) fn life(programs: &Programs) -> Result<Duration> {
    let begun = Instant::now();
    let status = start(programs)?.wait()?;
    ensure!(status.success(), "the run that nobody kills: {status}");
    Ok(begun.elapsed())
}

/// Kills one after so long; whether it was still alive. Its memory, descriptors and VM are gone then, or it is an error.
pub(crate) fn kill(programs: &Programs, after: Duration, look: bool) -> Result<bool> {
    let mut child = start(programs)?;
    thread::sleep(after);
    let alive = child.try_wait()?.is_none();
    child.kill()?;
    child.wait()?;
    let process = format!("/proc/{}", child.id());
    ensure!(!Path::new(&process).exists(), "{process} is left");
    if let Ok(entries) = fs::read_dir(VMS) {
        let of_it = format!("{}-", child.id());
        drop(entries);
        let is_left = || {
            let folders = fs::read_dir(VMS).into_iter().flatten().flatten();
            folders.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&of_it))
        };
        ensure!(
            patience::until(PATIENCE, || !is_left()),
            "the kernel still has a VM of process {}",
            child.id()
        );
    }
    if look {
        failing::works(programs).context("a VM after the kill")?;
    }
    Ok(alive)
}
