//! Messages from places that the host never sees: it has given their pairs, keeps the MSI-X entries behind them masked, and
//! counts what arrives. Guest, host's kernel, report and, on L0 with the data that this case leaves, the device agree.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::tally::{Tally, agree, handled};
use crate::CaseReport;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::Vm;
use crate::witness::{ask, has_intel, hex, index_of, irte};

/// Messages whose IRTE is not present, in VT-d's reasons.
const ABSENT: &str = "0x22";
/// MSI-X entries beside the places.
const BESIDE: usize = 4;

/// Transmit queues of the NIC, four of them.
pub(super) fn in_queues() -> Result<CaseReport> {
    run("ims rounds=100 checkpoints", 4)
}

/// Entries of its MSI-X table that have no interrupt of their own, two of them.
pub(super) fn in_table() -> Result<CaseReport> {
    run("ims table rounds=100 checkpoints", 2)
}

fn run(words: &str, places: usize) -> Result<CaseReport> {
    let device = host::device(0)?;
    let known = absent_faults()?;
    let mut vm = Vm::start(&["--device", &format!("vfio={device}")], words)?;
    vm.until("enabled")?;
    vm.resume()?;
    vm.until("mapped")?;
    let entries = vm.events("entry");
    same("entries of one MAP", &entries.len(), &(places + BESIDE))?;
    let table = ask(&["msix", &device])?;
    for entry in &entries {
        behind(&table, entry)?;
        present(&device, entry)?;
    }
    vm.resume()?;
    vm.until("stormed")?;
    let first = handled(&vm.events("vector"), |stage| stage == "mapped")?;
    same("the host's kernel, entry by entry", &of_kernel(&device, table.len(), places)?, &first)?;
    vm.resume()?;
    for checkpoint in ["retargeted", "stale"] {
        vm.until(checkpoint)?;
        vm.resume()?;
    }
    let ended = vm.run_out()?;
    let checks = ended.passed()?;
    let whole = |stage: &str| ["mapped", "released", "again"].contains(&stage);
    let total = agree(&ended, whole)?;
    let blocked = if has_intel() {
        ensure!(absent_faults()? > known, "the kernel's log does not show the stale pair");
        "the stale pair was blocked and logged"
    } else {
        "the stale pair reached nobody"
    };
    let of_places: u64 = of_places(&ended.of_kind("vector"), whole)?.values().sum();
    Ok(CaseReport {
        note: format!(
            "{total} handled, {of_places} of them from {places} places that the host does not know; host and report count the same \
             for each of {} entries; {blocked}; {checks} checks",
            places + BESIDE
        ),
        data: sent(&device, &ended.of_kind("entry"), &ended.of_kind("vector"))?,
    })
}

/// The number in the table of the entry that an event is about: a place has one from the end.
fn number_in(table: usize, entry: &Value) -> Result<usize> {
    let index = usize::try_from(number(entry, "/index"))?;
    match text(entry, "store") {
        "IMS" => table.checked_sub(1 + index).context("no such entry"),
        _ => Ok(index),
    }
}

/// The table holds the pair; behind a place it is masked, and otherwise it is not.
fn behind(table: &[Value], entry: &Value) -> Result<()> {
    let held = table.get(number_in(table.len(), entry)?).context("no such entry in the table")?;
    same("address in the table", &hex(held, "address")?, &hex(entry, "address")?)?;
    same("data in the table", &number(held, "/data"), &number(entry, "/data"))?;
    same("mask in the table", &(held["masked"] == true), &(text(entry, "store") == "IMS"))
}

/// The pair names a present IRTE of this device, where the table can be read.
fn present(device: &str, entry: &Value) -> Result<()> {
    let Ok(table) = ask(&["irt"]) else { return Ok(()) };
    let index = index_of((hex(entry, "address")?, number(entry, "/data")))?;
    let irte = irte(&table, index).with_context(|| format!("IRTE {index} is not present"))?;
    same("source id of the IRTE", &format!("0000:{}", text(irte, "sid")).as_str(), &device)
}

/// What the host's kernel has counted.
fn of_kernel(device: &str, table: usize, places: usize) -> Result<Tally> {
    let irqs = ask(&["irqs", device])?;
    let entry = |index: u64| {
        let last = table as u64 - 1;
        if last - index < places as u64 {
            ("IMS".to_owned(), last - index)
        } else {
            ("MSIX".to_owned(), index)
        }
    };
    Ok(irqs.iter().map(|irq| (entry(number(irq, "/index")), number(irq, "/count"))).collect())
}

fn of_places(vectors: &[Value], in_stage: impl Fn(&str) -> bool) -> Result<Tally> {
    let mut tally = handled(vectors, in_stage)?;
    tally.retain(|(store, _), _| store == "IMS");
    Ok(tally)
}

/// How often the device must have sent each pair: as often as it was handled, and the stale one once more. The place that
/// was mapped again may have another pair then.
fn sent(device: &str, entries: &[Value], vectors: &[Value]) -> Result<Value> {
    let (first, again) = (
        handled(vectors, |stage| stage == "mapped" || stage == "released")?,
        handled(vectors, |stage| stage == "again")?,
    );
    let mut pairs: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    let mut seen: Vec<(String, u64)> = Vec::new();
    for entry in entries {
        let of = (text(entry, "store").to_owned(), number(entry, "/index"));
        let count = if seen.contains(&of) {
            again.get(&of).copied()
        } else {
            first.get(&of).map(|count| count + u64::from(of == ("IMS".to_owned(), 0)))
        };
        *pairs.entry((text(entry, "address"), number(entry, "/data"))).or_default() +=
            count.with_context(|| format!("{of:?} was never raised"))?;
        seen.push(of);
    }
    let counts = pairs.into_iter().map(|((address, data), count)| {
        json!({"device": device, "address": address, "data": data, "count": count})
    });
    Ok(counts.collect::<Vec<_>>().into())
}

/// How many messages without an IRTE the kernel has logged. Whose they were is not asked: QEMU gives this device's writes no
/// requester id.
fn absent_faults() -> Result<usize> {
    Ok(ask(&["faults"])?.iter().filter(|fault| fault["reason"] == ABSENT).count())
}
