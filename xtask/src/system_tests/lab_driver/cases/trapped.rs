//! Guests whose message stores are trapped: every interrupt counted by the guest, every exit by the host.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::CaseReport;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::{Ended, Vm};

/// The NIC with its table, and the device with one MSI.
fn run(arguments: &[&str], words: &str) -> Result<Ended> {
    let devices = [format!("vfio={}", host::device(0)?), format!("vfio={}", host::device(1)?)];
    let mut all = arguments.to_vec();
    devices.iter().for_each(|device| all.extend(["--device", device]));
    let ended = Vm::start(&all, words)?.finish()?;
    ended.passed()?;
    Ok(ended)
}

/// Trapped, then enabled over live interrupts, then trapped again.
pub(super) fn auto() -> Result<CaseReport> {
    let ended = run(&[], "trapped")?;
    for name in ["enable", "cleared"] {
        same(name, &ended.checks(name), &vec!["ok"])?;
    }
    same("direct", &ended.checks("direct"), &vec!["ok"; 2])?;
    same("trapped-again", &ended.checks("trapped-again"), &vec!["ok"; 2])?;
    Ok(format!("{} checks; {}", ended.passed()?, exits(&ended)?).into())
}

/// Nothing is offered; each access of the guest to the table is an exit, and there are no others to its BAR.
pub(super) fn unoffered() -> Result<CaseReport> {
    let ended = run(&["--mode", "trap"], "trapped unoffered")?;
    same("unoffered", &ended.checks("unoffered"), &vec!["ok"])?;
    let events = ended.of_kind("trapped");
    let accesses = number(events.first().context("no table was trapped")?, "/table_accesses");
    let devices = ended.report["devices"].as_array().context("no devices in the report")?;
    let bars = devices.iter().filter_map(|device| device["bars"].as_array()).flatten();
    let of_table: Vec<&Value> = bars.filter(|bar| bar["msix"] == true).collect();
    let exits_of_table: u64 = of_table.iter().map(|bar| number(bar, "/reads") + number(bar, "/writes")).sum();
    same("exits for the table", &exits_of_table, &accesses)?;
    ensure!(
        accesses > 0 && ended.report["conduits"] == serde_json::json!([]),
        "{:?}",
        ended.report["conduits"]
    );
    Ok(format!("{} checks; {}, {accesses} in all", ended.passed()?, exits(&ended)?).into())
}

fn exits(ended: &Ended) -> Result<String> {
    let events = ended.of_kind("programmed");
    let line = events.first().context("nothing was programmed")?;
    let each = number(line, "/exits_per_vector");
    same("exits to program a vector", &each, &8)?;
    Ok(format!("{each} exits to program a vector of {}", text(line, "device")))
}
