//! 20,000 interrupts over all vectors of a device: what the handlers counted is what the host's kernel counted and what
//! `pvir` reports, entry by entry. What the device sent is counted on L0, with the data that this case leaves.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::CaseReport;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::Vm;
use crate::witness::ask;

const VECTORS: usize = 10;
/// Raised in each of the two stages.
const HALF: u64 = 10_000;

pub(super) fn run() -> Result<CaseReport> {
    let device = host::device(0)?;
    let words = format!("direct interrupts={} checkpoints", 2 * HALF);
    let mut vm = Vm::start(&["--device", &format!("vfio={device}")], &words)?;
    for checkpoint in ["enabled", "mapped"] {
        vm.until(checkpoint)?;
        vm.resume()?;
    }
    vm.until("stormed")?;
    let entries = vm.events("entry");
    same("entries of one MAP", &entries.len(), &VECTORS)?;
    let handled = by_entry(&vm.events("vector"), "mapped");
    same("handled in the first stage", &handled.iter().sum(), &HALF)?;
    let host_counts = counts_of(&ask(&["irqs", &device])?);
    same("the host's kernel, entry by entry", &host_counts, &handled)?;

    let ended = vm.run_out()?;
    ended.passed()?;
    let vectors = ended.of_kind("vector");
    for line in &vectors {
        ensure!(number(line, "/elsewhere") == 0, "interrupts on a wrong CPU or vector: {line}");
        same("handled of what was raised", &number(line, "/handled"), &number(line, "/raised"))?;
    }
    let cpus: Vec<u64> = entries.iter().map(|entry| number(entry, "/apic_id")).collect();
    ensure!(cpus.contains(&0) && cpus.contains(&1), "not spread over two CPUs: {cpus:?}");
    let both: Vec<u64> =
        handled.iter().zip(by_entry(&vectors, "retargeted")).map(|(first, second)| first + second).collect();
    let reported: Vec<u64> = ended.report["interrupts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|interrupt| number(interrupt, "/count"))
        .collect();
    same("pvir's report, entry by entry", &reported, &both)?;
    let total: u64 = both.iter().sum();
    let sent: Vec<Value> = entries
        .iter()
        .zip(&both)
        .map(|(entry, count)| {
            let (address, data) = (text(entry, "address"), number(entry, "/data"));
            json!({"device": device, "address": address, "data": data, "count": count})
        })
        .collect();
    Ok(CaseReport {
        note: format!("{total} handled, host and report count the same for each of {VECTORS} entries"),
        data: json!(sent),
    })
}

/// What was handled in a stage, in the order of entries.
fn by_entry(vectors: &[Value], stage: &str) -> Vec<u64> {
    vectors.iter().filter(|line| text(line, "stage") == stage).map(|line| number(line, "/handled")).collect()
}

fn counts_of(irqs: &[Value]) -> Vec<u64> {
    let mut counts: Vec<(u64, u64)> =
        irqs.iter().map(|irq| (number(irq, "/index"), number(irq, "/count"))).collect();
    counts.sort_unstable();
    counts.into_iter().map(|(_, count)| count).collect()
}
