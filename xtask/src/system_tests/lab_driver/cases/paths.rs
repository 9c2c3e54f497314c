//! Cases whose steps the guest checks, and whose counts guest and host must agree on: routings of every mode, and entries
//! that come and go one by one.

use anyhow::{Result, ensure};

use super::tally::agree;
use crate::CaseReport;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::Vm;

pub(super) fn routings() -> Result<CaseReport> {
    let devices = [host::device(0)?, host::device(1)?].map(|device| format!("vfio={device}"));
    let [first, second] = &devices;
    let vm = Vm::start(&["--device", first, "--device", second], "routings rounds=20")?;
    let ended = vm.finish()?;
    ended.passed()?;
    let delivered = ended.checks("delivered").len();
    let refused = ended.checks("refused").len();
    let not_taken = ended.checks("feature-not-taken").len();
    ensure!(delivered >= 20 && refused >= 20 && not_taken >= 20, "{delivered}, {refused}, {not_taken}");
    let cpus: Vec<u64> = ended.of_kind("vector").iter().map(|line| number(line, "/apic_id")).collect();
    ensure!(cpus.contains(&0) && cpus.contains(&1), "not both CPUs were named: {cpus:?}");
    // One device has MSI-X and the other MSI, so that the store tells them apart.
    let total = agree(&ended, |_| true)?;
    Ok(format!("{delivered} routings delivered, {total} interrupts; {refused} refused, {not_taken} without their features").into())
}

pub(super) fn takeover() -> Result<CaseReport> {
    let device = host::device(0)?;
    let ended = Vm::start(&["--device", &format!("vfio={device}")], "takeover")?.finish()?;
    ended.passed()?;
    for name in ["before", "epoch", "handle", "pair", "after"] {
        same(name, &ended.checks(name), &vec!["ok"])?;
    }
    host::nothing_left()?;
    Ok("the old handle is stale, the old pair reaches nobody".to_owned().into())
}

pub(super) fn dynamic() -> Result<CaseReport> {
    let device = host::device(0)?;
    let ended = Vm::start(&["--device", &format!("vfio={device}")], "dynamic rounds=10")?.finish()?;
    ended.passed()?;
    let total = agree(&ended, |_| true)?;
    let storm: u64 = ended
        .of_kind("vector")
        .iter()
        .filter(|line| text(line, "stage") == "storm")
        .map(|line| number(line, "/handled"))
        .sum();
    let mapped = ended.of_kind("entry").len();
    ensure!(storm > 0, "nothing fired meanwhile");
    Ok(format!("{mapped} times mapped and unmapped alone; {total} handled, {storm} of them meanwhile; host and report count the same").into())
}
