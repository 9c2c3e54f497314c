//! A guest that calls, writes and moves its devices at random: the host has nothing left of it while the VM still runs, nor
//! afterwards, its kernel complains of nothing, and the devices can be used.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::CaseReport;
use crate::expect::{number, same};
use crate::host;
use crate::vm::{DETACHED, Vm};
use crate::witness::{ask, has_intel};

/// Calls on each kind of machine, so that both together make 100,000.
const CALLS: u64 = 50_000;
/// What attaches an irqfd.
const ATTACHED: [&str; 2] = ["KVM_IRQFD", "KVM_IRQFD (ahead)"];
/// For eventfds to go that the VMM gives up aside.
const PATIENCE: Duration = Duration::from_secs(10);
/// With these words the kernel says that something in it has failed.
const COMPLAINTS: [&str; 6] = ["BUG:", "WARNING:", "Oops", "Call Trace", "UBSAN", "blocked for more than"];

/// What a VM leaves behind on a host that does not clean up.
#[derive(PartialEq, Eq, Debug)]
struct Held {
    /// Numbers of the host's interrupts, by `/proc/interrupts`.
    interrupts: Vec<String>,
    /// Present entries of Intel's remapping tables; none of AMD's can be read here.
    irtes: usize,
    /// Complaints in the kernel's log.
    complaints: Vec<String>,
}

impl Held {
    fn now() -> Result<Self> {
        let table = fs::read_to_string("/proc/interrupts")?;
        let interrupts = table.lines().filter_map(|line| line.split_once(':'));
        let irtes = if has_intel() { ask(&["irt"])? } else { Vec::new() };
        let log = Command::new("dmesg").output().context("cannot start dmesg")?;
        let log = String::from_utf8_lossy(&log.stdout).into_owned();
        let complains = |line: &&str| COMPLAINTS.iter().any(|word| line.contains(word));
        Ok(Self {
            interrupts: interrupts.map(|(name, _)| name.trim().to_owned()).collect(),
            irtes: irtes.iter().filter(|entry| entry["present"] == true).count(),
            complaints: log.lines().filter(complains).map(str::to_owned).collect(),
        })
    }
}

pub(super) fn run() -> Result<CaseReport> {
    let devices = [host::device(0)?, host::device(1)?].map(|device| format!("vfio={device}"));
    // What is sought are faults, not the rate that the host would allow.
    let arguments = ["--rate-limit", "off", "--device", &devices[0], "--device", &devices[1]];
    // not the chance of the machine's own KVM, nor that of the other vendor
    let seed = if has_intel() { 12 } else { 13 };
    let before = Held::now()?;
    let mut vm = Vm::start(&arguments, &format!("hostile calls={CALLS} seed={seed} checkpoints"))?;
    vm.until("begun")?;
    let begun = (Held::now()?, eventfds(&vm.pid())?);
    vm.resume()?;
    vm.until("over")?;
    same("held by a VM that has disabled", &Held::now()?, &begun.0)?;
    let counts = vm.counts()?;
    let attached = ATTACHED.iter().map(|name| ioctls(&counts, name)).sum();
    ensure!(attached > 0, "no irqfd was attached: {counts}");
    // They are detached aside, and the eventfds go with them.
    same("irqfds detached", &ioctls(&vm.counts_detached(attached)?, DETACHED), &attached)?;
    let pid = vm.pid();
    patience::until(PATIENCE, || eventfds(&pid).is_ok_and(|held| held == begun.1));
    same("eventfds held by a VM that has disabled", &eventfds(&pid)?, &begun.1)?;
    vm.resume()?;
    let ended = vm.finish()?;
    ended.passed()?;
    let event = ended.of_kind("hostile").pop().context("no event `hostile`")?;
    let (calls, accesses) = (number(&event, "/calls"), number(&event, "/accesses"));
    ensure!(calls >= CALLS && accesses > 0, "{event}");
    host::nothing_left()?;
    same("held after the VM's end", &Held::now()?, &before)?;
    Vm::start(&arguments, "direct interrupts=100")?.run_out()?.passed()?;
    Ok(format!("{calls} calls, {accesses} accesses, seed {seed}; {attached} irqfds attached and detached")
        .into())
}

/// How often the VMM has issued the ioctl that it counts under this name.
fn ioctls(counts: &Value, name: &str) -> u64 {
    counts["ioctls"][name].as_u64().unwrap_or(0)
}

/// Eventfds that a process holds.
fn eventfds(pid: &str) -> Result<usize> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).context("descriptors of the VMM")?.flatten();
    let targets = all.filter_map(|fd| fs::read_link(fd.path()).ok());
    Ok(targets.filter(|target| target.as_os_str() == "anon_inode:[eventfd]").count())
}
