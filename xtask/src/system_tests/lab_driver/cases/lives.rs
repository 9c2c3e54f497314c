//! What a VM does over and over under traffic: it takes a device and gives it back, ends its session and begins another,
//! resets a device, resets its machine. Each time the host's kernel holds for it what it held at first.

use std::collections::HashSet;
use std::env;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::CaseReport;
use crate::expect::{number, same};
use crate::footprint::Footprint;
use crate::host;
use crate::vm::{Ended, Vm};

/// The variable that says how many rounds are made.
const ROUNDS: &str = "PVIR_ROUNDS";
/// So often at most a VM stands still to be looked at.
const LOOKS: u64 = 20;
/// How the kernel resets its machine.
const WAYS: [&str; 4] = ["port", "keyboard", "triple", "panic"];
const EMULATED: &str = "emulated,vectors=10";

/// Nothing comes and goes beside the guest, and nothing is written into a history, which grows. A device whose thread was
/// late raises at once what it has missed, which is no storm of its own making.
pub(super) const STEADY: [&str; 5] = ["--armed-ahead", "0", "--no-history", "--storm-limit", "off"];

/// As often as is asked for, otherwise so often.
pub(super) fn rounds(usual: u64) -> Result<u64> {
    match env::var(ROUNDS) {
        Ok(times) => times.parse().with_context(|| format!("{ROUNDS}={times}")),
        Err(_) => Ok(usual),
    }
}

fn passed_through() -> Result<String> {
    Ok(format!("vfio={}", host::device(0)?))
}

/// A device is attached and detached.
pub(super) fn attach_emulated() -> Result<CaseReport> {
    attach(EMULATED, 20)
}

pub(super) fn attach_passed_through() -> Result<CaseReport> {
    attach(&passed_through()?, 5)
}

fn attach(device: &str, usual: u64) -> Result<CaseReport> {
    // Handing over costs more than a guest may take that does nothing else.
    over_and_over(device, &["--rate-limit", "off"], "attach", usual, &["attached", "lost"])
}

/// DISABLE and ENABLE.
pub(super) fn sessions_emulated() -> Result<CaseReport> {
    sessions(EMULATED, 20)
}

pub(super) fn sessions_passed_through() -> Result<CaseReport> {
    sessions(&passed_through()?, 5)
}

fn sessions(device: &str, usual: u64) -> Result<CaseReport> {
    over_and_over(device, &["--rate-limit", "off"], "sessions", usual, &["sessions"])
}

/// Function level resets by the guest; one of ten is with the table trapped.
pub(super) fn resets_emulated() -> Result<CaseReport> {
    over_and_over(EMULATED, &[], "resets recovery=0", 50, &["trapped", "direct"])
}

pub(super) fn resets_passed_through() -> Result<CaseReport> {
    over_and_over(&passed_through()?, &[], "resets", 3, &["trapped", "direct"])
}

/// `words` for the kernel, which makes the rounds and judges what a guest can see; `checks` of it must be there.
fn over_and_over(
    device: &str,
    arguments: &[&str],
    words: &str,
    usual: u64,
    checks: &[&str],
) -> Result<CaseReport> {
    let rounds = rounds(usual)?;
    let each = rounds.div_ceil(LOOKS).max(1);
    let arguments = [&["--device", device], &STEADY[..], arguments].concat();
    let mut vm = Vm::start(&arguments, &format!("{words} rounds={rounds} each={each} checkpoints"))?;
    let looks = rounds / each;
    let mut first: Option<Footprint> = None;
    for look in 0..=looks {
        vm.until("baseline").with_context(|| format!("after {} rounds", look * each))?;
        let now = Footprint::of(&mut vm)?;
        match &first {
            Some(first) => now.is_back(first, &format!("after {} rounds", look * each))?,
            None => first = Some(now),
        }
        vm.resume()?;
    }
    let ended = vm.run_out()?;
    let passed = ended.passed()?;
    checks.iter().try_for_each(|name| same(name, &ended.checks(name), &vec!["ok"]))?;
    host::nothing_left()?;
    let held = first.map(|first| first.describe()).unwrap_or_default();
    Ok(format!("{}; {looks} times as before the first: {held}; {passed} checks", what(&ended, checks)).into())
}

/// What the guest says of the last of its checks that counts.
fn what(ended: &Ended, checks: &[&str]) -> String {
    let counting = checks.iter().rev().filter(|name| **name != "lost");
    let details = counting.filter_map(|name| {
        ended.of_kind("check").into_iter().find(|check| check["name"] == **name)?["detail"]
            .as_str()
            .map(str::to_owned)
    });
    details.take(1).collect()
}

/// With the emulated device, on any KVM.
pub(super) fn reboots_emulated() -> Result<CaseReport> {
    let mut notes = Vec::new();
    for way in WAYS {
        notes.push(reboot(EMULATED, way, if way == "port" { rounds(5)? } else { 2 })?);
    }
    Ok(notes.join("; ").into())
}

/// With a device of the host.
pub(super) fn reboots_passed_through() -> Result<CaseReport> {
    Ok(reboot(&passed_through()?, "port", rounds(3)?)?.into())
}

/// By a panic each time, in the handler of an interrupt.
pub(super) fn panics_emulated() -> Result<CaseReport> {
    Ok(reboot(EMULATED, "panic", rounds(2)?)?.into())
}

pub(super) fn panics_passed_through() -> Result<CaseReport> {
    Ok(reboot(&passed_through()?, "panic", rounds(2)?)?.into())
}

/// What the next boot is told of the one that has said this: a handle and a pair, which must be dead then.
pub(super) fn former_of(boot: &Value) -> String {
    let [handle, address, data] = ["/handle", "/address", "/data"].map(|field| number(boot, field));
    format!("{handle} {address} {data}")
}

/// A guest that resets its machine in the middle of its interrupts, again and again, in one process: each boot finds what
/// the first one found, and nothing is left of those before.
fn reboot(device: &str, way: &str, times: u64) -> Result<String> {
    let arguments = [&["--device", device, "--on-reboot", "restart"], &STEADY[..]].concat();
    let mut vm = Vm::start(&arguments, &format!("reboot by={way} checkpoints"))?;
    let mut first: Option<Footprint> = None;
    let (mut epoch, mut handles) = (0, HashSet::new());
    let mut former = String::new();
    for boot in 0..=times {
        let when = format!("in boot {boot}");
        vm.until("former").with_context(|| when.clone())?;
        vm.answer(&former)?;
        vm.until("traffic").with_context(|| when.clone())?;
        let checks = vm.events("check");
        let failed: Vec<&Value> = checks.iter().filter(|check| check["outcome"] == "FAILED").collect();
        ensure!(failed.is_empty(), "{when}: {failed:?}");
        let boots = vm.events("boot");
        let said = boots.last().context("no event `boot`")?;
        same("boots", &(boots.len() as u64), &(boot + 1))?;
        ensure!(number(said, "/epoch") > epoch, "epoch {epoch} is followed by {said}");
        epoch = number(said, "/epoch");
        let handle = number(said, "/handle");
        ensure!(handle != 0 && handles.insert(handle), "handle {handle} was given before, {when}");
        former = former_of(said);
        let dead = checks.iter().filter(|check| check["name"] == "former").count();
        same("boots that were told of the one before", &(dead as u64), &boot)?;
        let counts = vm.counts()?;
        same("restarts", &number(&counts, "/restarts"), &boot)?;
        let now = Footprint::of(&mut vm)?;
        match &mut first {
            // What loads a kernel once more, and blanks memory, is there from the first restart on.
            Some(first) if boot == 1 => first.may_grow_to(&now),
            Some(_) => {}
            None => first = Some(now.clone()),
        }
        first.iter().try_for_each(|first| now.is_back(first, &when))?;
        if boot < times {
            vm.resume()?;
        }
    }
    vm.signal(Signal::TERM)?;
    let ended = vm.finish()?;
    same("exit status", &ended.status, &Some(130))?;
    same("restarts", &number(&ended.report, "/restarts"), &times)?;
    host::nothing_left()?;
    let held = first.map(|first| first.describe()).unwrap_or_default();
    Ok(format!(
        "{times} resets by {way}, epoch {epoch}, every handle and pair of before dead; each time {held}"
    ))
}
