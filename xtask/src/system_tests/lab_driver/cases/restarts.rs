//! A machine that is started again after devices came while it ran, and while one is to go: what came is there in the next
//! boot, reset, and what was to go is the host's again.

use anyhow::{Context, Result, ensure};
use patience::Patience;
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

use super::lives::{STEADY, former_of};
use crate::CaseReport;
use crate::expect::{number, same};
use crate::footprint::Footprint;
use crate::host;
use crate::vm::Vm;

/// In each the machine is started three times.
const CYCLES: u64 = 2;
const BUSY: &str = "emulated,vectors=10";
/// Where the device comes, and where the busy one is from the second cycle on.
const FIRST: &str = "00:01.0";
const SECOND: &str = "00:02.0";
/// For the host to take back what has gone. It takes milliseconds.
const TAKING_BACK: Duration = Duration::from_secs(10);

/// With emulated devices, on any KVM.
pub(super) fn emulated() -> Result<CaseReport> {
    run("emulated,vectors=8")
}

/// With a device of the host.
pub(super) fn passed_through() -> Result<CaseReport> {
    run(&format!("vfio={}", host::device(0)?))
}

fn run(device: &str) -> Result<CaseReport> {
    let arguments = [&["--device", BUSY, "--on-reboot", "restart"], &STEADY[..]].concat();
    let mut vm = Vm::start(&arguments, "reboot by=port checkpoints")?;
    boot(&mut vm, "")?;
    let mut first: Option<Footprint> = None;
    for cycle in 0..CYCLES {
        let when = format!("in cycle {cycle}");
        // The guest's device is pulled out, and another one comes to its place: the guest finds it when it starts.
        vm.unplug(if cycle == 0 { FIRST } else { SECOND }, &["--force", "--timeout", "0"])?;
        vm.plug(device, &[])?;
        vm.resume()?;
        let former = boot(&mut vm, "").with_context(|| format!("{device} has come, {when}"))?;
        vm.resume()?;
        boot(&mut vm, &former).with_context(|| format!("{device} was reset, {when}"))?;
        // It is asked for, and another one comes. The guest looks at neither before it resets its machine.
        let asked = vm.unplug(FIRST, &["--timeout", "0"]);
        let asked = asked.err().context("the guest has let the device go")?.to_string();
        ensure!(asked.contains("has not let it go"), "{asked}");
        vm.plug(BUSY, &[])?;
        vm.resume()?;
        boot(&mut vm, "").with_context(|| format!("{device} was asked for, {when}"))?;
        let counts = vm.counts()?;
        same("restarts", &number(&counts, "/restarts"), &(3 * (cycle + 1)))?;
        same("unplugged", &number(&counts, "/unplugged"), &(2 * (cycle + 1)))?;
        match &first {
            // What comes with the first device of the host, and with the first restart, stays.
            None => first = Some(settled(&mut vm)?),
            Some(first) => is_back(&mut vm, first, &when)?,
        }
        host::no_interrupt_left()?;
    }
    vm.signal(Signal::TERM)?;
    same("exit status", &vm.finish()?.status, &Some(130))?;
    host::nothing_left()?;
    let held = first.map(|first| first.describe()).unwrap_or_default();
    Ok(format!("{CYCLES} times a device came, was reset twice and went by a reset; each time {held}").into())
}

/// Runs a boot to its traffic. Answers with what tells the next one of it.
fn boot(vm: &mut Vm, former: &str) -> Result<String> {
    vm.until("former")?;
    vm.answer(former)?;
    vm.until("traffic")?;
    let checks = vm.events("check");
    let failed: Vec<&Value> = checks.iter().filter(|check| check["outcome"] == "FAILED").collect();
    ensure!(failed.is_empty(), "{failed:?}");
    vm.events("boot").last().map(former_of).context("no event `boot`")
}

/// Two looks in a row that are the same: the host has taken back what has gone.
fn settled(vm: &mut Vm) -> Result<Footprint> {
    let mut before = Footprint::of(vm)?;
    let mut patience = Patience::new(TAKING_BACK);
    loop {
        let now = Footprint::of(vm)?;
        if now == before || patience.is_over() {
            return Ok(now);
        }
        before = now;
    }
}

/// The same as at first, as soon as the host has taken back what has gone.
fn is_back(vm: &mut Vm, first: &Footprint, when: &str) -> Result<()> {
    let mut patience = Patience::new(TAKING_BACK);
    loop {
        let back = Footprint::of(vm)?.is_back(first, when);
        if back.is_ok() || patience.is_over() {
            return back;
        }
    }
}
