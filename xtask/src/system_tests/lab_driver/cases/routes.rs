//! `pvir routes` on a VM that runs: each vector's way against what kernel, device and guest say, and that asking costs the
//! VM neither an exit nor an ioctl.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::CaseReport;
use crate::cases::counts::OF_CONSOLES;
use crate::expect::{grown, number, same, text};
use crate::host;
use crate::trace::{Exits, IO, Trace};
use crate::vm::Vm;
use crate::witness::{ask, has_intel, hex, index_of, irte};

const ENTRIES: usize = 10;
const QUESTIONS: usize = 20;

pub(super) fn run() -> Result<CaseReport> {
    let device = host::device(0)?;
    let trace = Trace::start()?;
    let mut vm = Vm::start(&["--device", &format!("vfio={device}")], "direct interrupts=2000 checkpoints")?;
    vm.until("enabled")?;
    vm.resume()?;
    vm.until("mapped")?;
    let table = if has_intel() { Some(ask(&["irt"])?) } else { None };
    let before = counts(&device)?;
    vm.resume()?;
    // The guest is at it now.
    let report = routes(&vm.pid())?;
    let after = counts(&device)?;
    for row in rows(&report) {
        let (index, count) = (number(row, "/index"), number(row, "/count"));
        ensure!(
            (before[&index]..=after[&index]).contains(&count),
            "entry {index}: {count} is not between {} and {}",
            before[&index],
            after[&index]
        );
    }
    vm.until("stormed")?;

    let report = routes(&vm.pid())?;
    same("rows", &rows(&report).len(), &ENTRIES)?;
    let entries = vm.events("entry");
    let irqs = ask(&["irqs", &device])?;
    for ((row, irq), entry) in rows(&report).iter().zip(&irqs).zip(&entries) {
        agree(row, irq, entry, &vm.pid())?;
        if let Some(table) = &table {
            let index = index_of((hex(row, "address")?, hex(row, "data")?))?;
            same("IRTE of the pair", &number(row, "/irte_index"), &index)?;
            irte(table, index).with_context(|| format!("IRTE {index} is not present"))?;
        }
    }
    let counted: u64 = rows(&report).iter().map(|row| number(row, "/count")).sum();
    ensure!(counted > 0, "no interrupt was counted");

    costs_nothing(&mut vm, &trace)?;
    vm.run_out()?.passed()?;
    let posted = rows(&report).first().map(|row| text(row, "posted").to_owned()).unwrap_or_default();
    Ok(format!(
        "{ENTRIES} routes as the kernel, the guest and the device have them, {counted} interrupts counted, {posted}; \
         {QUESTIONS} questions: no exit but the guest's own at its serial port, no ioctl"
    )
    .into())
}

fn routes(pid: &str) -> Result<Value> {
    let output =
        Command::new("pvir").args(["routes", pid, "--json"]).output().context("cannot start pvir")?;
    ensure!(output.status.success(), "pvir routes: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("pvir routes printed no JSON")
}

fn rows(report: &Value) -> &[Value] {
    report["routes"].as_array().map_or(&[], Vec::as_slice)
}

/// What the kernel counts, by the number of the entry.
fn counts(device: &str) -> Result<BTreeMap<u64, u64>> {
    let irqs = ask(&["irqs", device])?;
    same("interrupts of the device", &irqs.len(), &ENTRIES)?;
    Ok(irqs.iter().map(|irq| (number(irq, "/index"), number(irq, "/count"))).collect())
}

fn agree(row: &Value, irq: &Value, entry: &Value, pid: &str) -> Result<()> {
    same("index", &number(row, "/index"), &number(irq, "/index"))?;
    same("host IRQ", &number(row, "/host_irq"), &number(irq, "/irq"))?;
    same("host CPU", &text(row, "host_cpus"), &text(irq, "effective"))?;
    same("CPUs that are allowed", &text(row, "host_cpus_allowed"), &text(irq, "affinity"))?;
    same("count", &number(row, "/count"), &number(irq, "/count"))?;
    same("index of the guest", &number(row, "/index"), &number(entry, "/index"))?;
    same("address", &hex(row, "address")?, &hex(entry, "address")?)?;
    same("data", &hex(row, "data")?, &number(entry, "/data"))?;
    same("APIC id", &number(row, "/apic_id"), &number(entry, "/apic_id"))?;
    same("vector", &number(row, "/vector"), &number(entry, "/vector"))?;
    let link = fs::read_link(format!("/proc/{pid}/fd/{}", row["eventfd"])).context("no such descriptor")?;
    ensure!(link.as_os_str() == "anon_inode:[eventfd]", "descriptor {} is {link:?}", row["eventfd"]);
    Ok(())
}

/// The guest waits meanwhile, by asking its serial port: that is all that may be counted, and its `KVM_RUN`s.
fn costs_nothing(vm: &mut Vm, trace: &Trace) -> Result<()> {
    let (before, traced) = (vm.counts()?, trace.exits()?);
    for _ in 0..QUESTIONS {
        routes(&vm.pid())?;
    }
    let (after, traced_after) = (vm.counts()?, trace.exits()?);
    same("exits by KVM, but those to ports", &but_io(traced_after), &but_io(traced))?;
    let mut exits = grown(&before["exits"], &after["exits"]);
    exits.retain(|cause, _| !OF_CONSOLES.contains(&cause.as_str()));
    same("exits by pvir, but those to the serial port", &exits, &BTreeMap::new())?;
    let mut ioctls = grown(&before["ioctls"], &after["ioctls"]);
    ioctls.remove("KVM_RUN");
    same("ioctls", &ioctls, &BTreeMap::new())
}

fn but_io(mut exits: Exits) -> Exits {
    exits.remove(&IO);
    exits
}
