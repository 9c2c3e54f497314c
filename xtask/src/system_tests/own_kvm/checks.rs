//! What of a run the guest does not check itself.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::guest::Ran;
use super::storm;
use crate::system_tests::long;

/// What the guest does not check itself, and a word about the whole.
pub(super) fn check(name: &str, ran: &Ran) -> Result<String> {
    let events = &ran.events;
    if name.starts_with("kvm/refusals") {
        skipped_only(events, &["UNALIGNED", "PRIVILEGE"])?;
        return conformance(events);
    }
    if name == "kvm/conformance" {
        return conformance(events);
    }
    let checks = events.iter().filter(|event| event["event"] == "check" && event["outcome"] == "ok").count();
    if name == "kvm/apic300" {
        let there = events.iter().filter(|event| event["event"] == "vector" && event["apic_id"] == 300);
        let handled: u64 = there.filter_map(|event| event["handled"].as_u64()).sum();
        ensure!(handled >= 500, "{handled} interrupts handled by APIC id 300");
        return Ok(format!("{handled} handled by the CPU with APIC id 300"));
    }
    if name == "kvm/hostile" {
        return hostile(events);
    }
    if name == "kvm/retargets" {
        let moved = long::moved(ran)?;
        ensure!(moved.handled > 0 && moved.retargets > 0, "nothing was moved, or nothing came");
        return Ok(format!(
            "{} raised, {} handled, {} retargets",
            moved.raised, moved.handled, moved.retargets
        ));
    }
    if name == "kvm/scale" {
        let scale = events.iter().find(|event| event["event"] == "scale").context("no event `scale`")?;
        let number = |key: &str| scale[key].as_u64().unwrap_or(0);
        let exact = (number("entries"), number("cpus"), number("highest_apic_id"), number("missing"));
        ensure!(exact == (2048, 350, 4095, 0) && number("elsewhere") == 0, "{scale}");
        let (pairs, all) = (number("pairs"), number("pairs_all"));
        return Ok(format!("{} interrupts, {pairs} of {all} pairs of entry and CPU", number("handled")));
    }
    if name.starts_with("kvm/blocked") {
        let foreign =
            events.iter().find(|event| event["name"] == "foreign-pair" && event["event"] == "check");
        ensure!(
            foreign.is_some_and(|event| event["outcome"] == "ok"),
            "no foreign pair was tried: {foreign:?}"
        );
    }
    match name {
        "kvm/conduits" => return conduits(ran),
        "kvm/storm" | "kvm/storm-trapped" => return storm::check(ran),
        "kvm/bench-direct" => return steps(ran, STEPS_DIRECT, "calls"),
        "kvm/bench-trapped" => return steps(ran, STEPS_TRAPPED, "accesses"),
        "kvm/quotas" => ensure!(no_skips(events), "the quotas were not reached"),
        _ => {}
    }
    let handled: u64 = events
        .iter()
        .filter(|event| event["event"] == "vector")
        .filter_map(|event| event["handled"].as_u64())
        .sum();
    Ok(format!("{checks} checks, {handled} interrupts"))
}

/// A guest that called at random, so often at least, and whose host answered only what the contract has; the guest itself
/// has seen that everything works afterwards.
pub(in crate::system_tests) fn hostile(events: &[Value]) -> Result<String> {
    const CALLS: u64 = 100_000;
    let event = events.iter().find(|event| event["event"] == "hostile").context("no event `hostile`")?;
    let number = |key: &str| event[key].as_u64().unwrap_or(0);
    ensure!(number("calls") >= CALLS && number("accesses") > 0, "{event}");
    let judged = conformance_of_a_few(events)?;
    let (calls, accesses) = (number("calls"), number("accesses"));
    Ok(format!("{calls} calls, {accesses} accesses, seed {}; {judged} statements afterwards", event["seed"]))
}

/// How many statements were kept; none may be broken or skipped.
fn conformance_of_a_few(events: &[Value]) -> Result<u64> {
    let result = events.last().context("no result")?;
    let number = |key: &str| result[key].as_u64().with_context(|| format!("no {key} in {result}"));
    let (kept, others) = (number("passed")?, number("failed")? + number("skipped")?);
    ensure!(kept > 0 && others == 0, "{result}");
    Ok(kept)
}

/// Calls of each step, for ten entries: one, however many are meant.
const STEPS_DIRECT: [(&str, u64); 6] =
    [("set_up", 1), ("retarget_one", 4), ("retarget_all", 1), ("mask", 0), ("unmask", 0), ("tear_down", 1)];
/// Accesses of each step: 9 to request, 11 to move (four times one entry, then all ten), 2 and 1 to mask and unmask
/// (four times all), 6 to free, as Linux 6.12 was seen to make them.
const STEPS_TRAPPED: [(&str, u64); 6] = [
    ("set_up", 90),
    ("retarget_one", 44),
    ("retarget_all", 110),
    ("mask", 80),
    ("unmask", 40),
    ("tear_down", 60),
];

/// Each round has cost so many, nothing else, and the VMM has trapped as many accesses as the guest has made.
fn steps(ran: &Ran, steps: [(&str, u64); 6], what: &str) -> Result<String> {
    let of = |name: &'static str| ran.events.iter().filter(move |event| event["event"] == name);
    let mut rounds = 0;
    for event in of("bench") {
        for (step, wanted) in steps {
            let other = if what == "calls" { "accesses" } else { "calls" };
            let counted = [what, other].map(|key| event[step][key].as_u64());
            ensure!(counted == [Some(wanted), Some(0)], "{step}: {}, not {wanted} {what}", event[step]);
        }
        rounds += 1;
    }
    ensure!(rounds == 2, "{rounds} rounds");
    let made = of("bench-end").next().and_then(|event| event["accesses"].as_u64());
    let devices = ran.report["devices"].as_array().into_iter().flatten();
    let bars = devices.filter_map(|device| device["bars"].as_array()).flatten();
    let tables = bars.filter(|bar| bar["msix"] == true);
    let trapped: u64 = tables.filter_map(|bar| Some(bar["reads"].as_u64()? + bar["writes"].as_u64()?)).sum();
    ensure!(made == Some(trapped), "the guest made {made:?} accesses, the VMM trapped {trapped}");
    Ok(format!("{trapped} accesses trapped in {rounds} rounds, as many as the guest made"))
}

fn no_skips(events: &[Value]) -> bool {
    !events.iter().any(|event| event["event"] == "check" && event["outcome"] == "skip")
}

/// Exits and ioctls of the whole run: all of them are accounted for.
fn conduits(ran: &Ran) -> Result<String> {
    let Ran { events, report, .. } = ran;
    let of = |map: &str, name: &str| report[map][name].as_u64().unwrap_or(0);
    let mut shown = Vec::new();
    for event in events.iter().filter(|event| event["event"] == "conduit") {
        let (name, calls) =
            (event["name"].as_str().unwrap_or_default(), event["calls"].as_u64().unwrap_or(0));
        let exits: &[String] = &match name {
            "msr" | "port" => vec![format!("pvir-{name}"), format!("pvir-status-{name}")],
            _ => vec!["pvir-vmcall".to_owned()],
        };
        ensure!(calls > 100, "{calls} calls by {name}");
        for exit in exits {
            ensure!(of("exits", exit) == calls, "{} exits {exit} for {calls} calls", of("exits", exit));
        }
        shown.push(format!("{name} {} exits, {} cycles", exits.len(), event["cycles"]));
    }
    ensure!(shown.len() >= 2, "conduits tried: {shown:?}");
    // one for each of two vCPUs when it was made, and one for the first call by port where the level comes along from
    // then on; a KVM that cannot do so needs one for each
    let levels = of("ioctls", "KVM_GET_SREGS") - 2;
    let by_port = of("exits", "pvir-port");
    ensure!(levels == 1 || levels == by_port, "{levels} times KVM_GET_SREGS for {by_port} calls by port");
    ensure!(of("ioctls", "KVM_GET_REGS") == 0, "registers were read");
    Ok(format!("a call: {}; KVM_GET_SREGS {levels} in {by_port} calls by port", shown.join(", ")))
}

/// Fails if a statement was skipped that is not among these: by port no block is unaligned, and where ring 3 has no ports
/// the host is not asked from there.
fn skipped_only(events: &[Value], may_be: &[&str]) -> Result<()> {
    let skipped = events.iter().filter(|event| event["event"] == "statement" && event["outcome"] == "skip");
    for event in skipped {
        let id = event["id"].as_str().unwrap_or_default();
        ensure!(may_be.contains(&id), "skipped: {event}");
    }
    Ok(())
}

/// How many statements were checked, none of which may be broken.
pub(in crate::system_tests) fn conformance(events: &[Value]) -> Result<String> {
    let result = events.last().context("no result")?;
    let number = |key: &str| result[key].as_u64().with_context(|| format!("no {key} in {result}"));
    let (all, kept, broken) = (number("statements")?, number("passed")?, number("failed")?);
    let (skipped, hidden) = (number("skipped")?, number("hidden")?);
    ensure!(broken == 0 && kept + skipped + hidden == all && kept > all / 2, "{result}");
    Ok(format!(
        "{all} statements and statuses: {kept} judged and kept, {skipped} skipped, {hidden} not observable"
    ))
}
