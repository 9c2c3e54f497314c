//! Cases that the guest checks: what it must see, and what the host's kernel must have said meanwhile.

use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::CaseReport;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::{Ended, Vm};
use crate::witness::{ask, has_intel};

/// Fault reasons of VT-d.
const ABSENT: &str = "0x22";
pub(super) const FOREIGN: &str = "0x26";

fn run(positions: &[usize], arguments: &[&str], words: &str) -> Result<Ended> {
    let devices = positions.iter().map(|position| Ok(format!("vfio={}", host::device(*position)?)));
    let devices = devices.collect::<Result<Vec<String>>>()?;
    let mut all = arguments.to_vec();
    for device in &devices {
        all.extend(["--device", device]);
    }
    let ended = Vm::start(&all, words)?.finish()?;
    ended.passed()?;
    Ok(ended)
}

pub(super) fn apic300() -> Result<CaseReport> {
    let ended = run(&[0], &["--apic-ids", "0,300"], "direct interrupts=2000")?;
    let vectors = ended.of_kind("vector");
    let there: Vec<&Value> = vectors.iter().filter(|line| number(line, "/apic_id") == 300).collect();
    ensure!(there.len() == 10, "{} of 10 lines with APIC id 300: {vectors:?}", there.len());
    for line in &there {
        same("handled by APIC id 300", &number(line, "/handled"), &number(line, "/raised"))?;
        ensure!(number(line, "/handled") >= 100 && number(line, "/elsewhere") == 0, "{line}");
    }
    let handled: u64 = there.iter().map(|line| number(line, "/handled")).sum();
    Ok(format!("{handled} interrupts handled by the CPU with APIC id 300").into())
}

pub(super) fn refusals() -> Result<CaseReport> {
    let ended = run(&[0], &[], "refusals")?;
    let ring3: Vec<&str> = ended
        .events
        .iter()
        .filter(|event| event["name"] == "ring3" && event["outcome"] == "ok")
        .map(|event| text(event, "detail"))
        .collect();
    for conduit in ["vmmcall", "port"] {
        let answered = |detail: &&str| detail.starts_with(conduit) && detail.contains("the host answers");
        ensure!(ring3.iter().any(answered), "the host was not asked by {conduit} from ring 3: {ring3:?}");
    }
    let result = ended.events.last().context("no result")?;
    same("statements that were skipped", &number(result, "/skipped"), &0)?;
    Ok(format!("{} refusals, from ring 3 by vmmcall, port and MSR too", ended.passed()?).into())
}

pub(super) fn conformance() -> Result<CaseReport> {
    let ended = run(&[0, 1], &[], "conformance events=host")?;
    let result = ended.events.last().context("no result")?;
    let of = |key: &str| number(result, &format!("/{key}"));
    let (all, kept, skipped, hidden) = (of("statements"), of("passed"), of("skipped"), of("hidden"));
    same("statements that are broken", &of("failed"), &0)?;
    same("statements accounted for", &(kept + skipped + hidden), &all)?;
    Ok(format!(
        "{all} statements and statuses: {kept} judged and kept, {skipped} skipped, {hidden} not observable"
    )
    .into())
}

/// Events of a device that the kernel keeps busy, raised by `pvir event`, announced and not.
pub(super) fn events() -> Result<CaseReport> {
    let mut notes = Vec::new();
    for (words, how) in [("", "announced"), (" notify=off", "polled")] {
        let ended = run(&[0], &[], &format!("events events=host rounds=12{words}"))?;
        for name in ["events", "lost", "notify"] {
            same(name, &ended.checks(name), &vec!["ok"])?;
        }
        let checks = ended.of_kind("check");
        let events =
            checks.iter().find(|check| check["name"] == "events").context("no check of that name")?;
        notes.push(format!("{how}: {}", text(events, "detail")));
    }
    host::nothing_left()?;
    Ok(format!("{}; none lost", notes.join("; ")).into())
}

/// A device that the kernel drives to more interrupts than it may raise, counted by the host's kernel: with pvir and with
/// the table trapped, let go on by the operator and by the guest's reset.
pub(super) fn storm_limit() -> Result<CaseReport> {
    let runs = ["reset=host", "reset=guest", "trapped reset=host", "trapped reset=guest"];
    let notes: Result<Vec<String>> = runs.into_iter().map(storms).collect();
    Ok(notes?.join("; ").into())
}

fn storms(words: &str) -> Result<String> {
    let ended = run(&[0], &["--storm-limit", "1000"], &format!("storms rounds=1 {words}"))
        .with_context(|| format!("storms {words}"))?;
    let storms = ended.of_kind("storm");
    ensure!(!storms.is_empty(), "no storm");
    same(
        "storms that the host has ended",
        &number(&ended.report, "/service/storms"),
        &(storms.len() as u64),
    )?;
    ensure!(ended.stderr.contains("is cut off"), "the operator was not told: {}", ended.stderr);
    host::nothing_left()?;
    let of = |key: &str| storms.iter().map(|storm| storm[key].to_string()).collect::<Vec<_>>().join(", ");
    Ok(format!("{words}: cut off after {} ms, {} handled by then", of("milliseconds"), of("handled")))
}

/// Of every device of the lab, alone: how many statements were judged.
pub(super) fn conformance_of_each() -> Result<CaseReport> {
    let mut judged = Vec::new();
    for position in 0..host::devices() {
        let ended = run(&[position], &[], "conformance").with_context(|| format!("device {position}"))?;
        let result = ended.events.last().context("no result")?;
        same("statements that are broken", &number(result, "/failed"), &0)?;
        judged.push(number(result, "/passed").to_string());
    }
    Ok(format!("{} statements judged and kept", judged.join(", ")).into())
}

/// The first device has more entries than the host has vectors.
pub(super) fn host_vectors() -> Result<CaseReport> {
    let ended = run(&[0, 1], &[], "shortage")?;
    let granted = ended.of_kind("check");
    let granted = granted.iter().find(|check| check["name"] == "granted").context("no check of that name")?;
    host::nothing_left()?;
    Ok(text(granted, "detail").to_owned().into())
}

pub(super) fn blocked_by_msix() -> Result<CaseReport> {
    blocked(&[0, 2])
}

pub(super) fn blocked_by_msi() -> Result<CaseReport> {
    blocked(&[0, 1])
}

/// The guest attacks from the first device, with pairs of its own making and of the second.
fn blocked(positions: &[usize]) -> Result<CaseReport> {
    let known = quiet_log()?;
    let ended = run(positions, &[], "blocked")?;
    for name in ["absent-handle", "stale-pair", "control-after"] {
        same(name, &ended.checks(name), &vec!["ok"])?;
    }
    if !has_intel() {
        return Ok("nothing delivered, the VM went on; this kernel reports no such fault on AMD-Vi"
            .to_owned()
            .into());
    }
    same("foreign-pair", &ended.checks("foreign-pair"), &vec!["ok"])?;
    let attacker = host::device(positions[0])?;
    let faults = faults()?.split_off(known);
    let of = |reason: &str| faults.iter().filter(|fault| text(fault, "reason") == reason).count();
    for fault in &faults {
        let device = format!("0000:{}", text(fault, "device"));
        same("device of the fault", &device.as_str(), &attacker.as_str())
            .with_context(|| text(fault, "text").to_owned())?;
    }
    // absent from the start, and absent again when given back
    ensure!(of(ABSENT) >= 2 && of(FOREIGN) >= 1, "the kernel's log does not show each attack: {faults:?}");
    Ok(format!(
        "nothing delivered, the VM went on, {} faults {ABSENT} and {} {FOREIGN} logged",
        of(ABSENT),
        of(FOREIGN)
    )
    .into())
}

/// Waits until the kernel would log a fault again, which it does ten times in five seconds; answers how many it has
/// logged.
pub(super) fn quiet_log() -> Result<usize> {
    const INTERVAL: f64 = 5.5;
    let faults = faults()?;
    let last = faults.last().map_or(0, |fault| number(fault, "/microseconds"));
    let uptime = fs::read_to_string("/proc/uptime")?;
    let now: f64 = uptime.split(' ').next().unwrap_or_default().parse()?;
    let wait = Duration::from_micros(last).as_secs_f64() + INTERVAL - now;
    if last > 0 && wait > 0.0 {
        thread::sleep(Duration::from_secs_f64(wait));
    }
    Ok(faults.len())
}

/// What was said of single messages; there are lines about the unit as a whole too.
pub(super) fn faults() -> Result<Vec<Value>> {
    Ok(ask(&["faults"])?.into_iter().filter(|fault| fault["reason"].is_string()).collect())
}

pub(super) fn port() -> Result<CaseReport> {
    conduit("port")
}

pub(super) fn msr() -> Result<CaseReport> {
    conduit("msr")
}

pub(super) fn vmmcall() -> Result<CaseReport> {
    conduit("vmmcall")
}

fn conduit(name: &str) -> Result<CaseReport> {
    Ok(calls_by(name, &[])?.into())
}

/// Interrupts of two devices with each call by one conduit.
pub(super) fn calls_by(name: &str, arguments: &[&str]) -> Result<String> {
    let ended = run(&[0, 1], arguments, &format!("direct interrupts=400 conduit={name}"))?;
    let cause = if name == "vmmcall" { "vmcall" } else { name };
    let calls = number(&ended.report, &format!("/exits/pvir-{cause}"));
    let asked = ended.report["service"]["operations"].as_object().context("no operations")?;
    let served: u64 = asked.values().filter_map(Value::as_u64).sum();
    same("calls by this conduit, of all served", &calls, &served)?;
    ensure!(calls > 0, "no call was made");
    Ok(format!("{calls} calls, all by {name}"))
}
