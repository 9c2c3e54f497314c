//! Devices that come and go while another one is busy, again and again: each works, the busy one loses nothing, and nothing
//! is left of those that have gone.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::lives;
use crate::CaseReport;
use crate::expect::{number, same};
use crate::footprint::Footprint;
use crate::host;
use crate::vm::Vm;

/// Rounds, four in each way in which a device goes.
const ROUNDS: u64 = 12;
const BUSY: &str = "emulated,vectors=10";

/// With the emulated device, on any KVM.
pub(super) fn emulated() -> Result<CaseReport> {
    let rounds = lives::rounds(ROUNDS)?;
    Ok(rounds_of("emulated,vectors=8", rounds)?.into())
}

fn rounds_of(device: &str, rounds: u64) -> Result<String> {
    // Irqfds that are armed ahead come and go beside the guest, and handing over costs what a guest may not take so often.
    // A busy device that was held up makes up for it, and is a storm then.
    let arguments = [
        &["--device", BUSY, "--armed-ahead", "0", "--no-history"][..],
        &["--rate-limit", "off", "--storm-limit", "off"],
    ]
    .concat();
    let mut vm = Vm::start(&arguments, &format!("plug rounds={rounds} checkpoints"))?;
    vm.plugs(device);
    vm.until("busy")?;
    let before = Footprint::of(&mut vm)?;
    vm.resume()?;
    vm.until("quiet")?;
    let failed: Vec<Value> =
        vm.events("check").into_iter().filter(|check| check["outcome"] == "FAILED").collect();
    ensure!(failed.is_empty(), "{failed:?}");
    let after = Footprint::of(&mut vm)?;
    let counts = vm.counts()?;
    same("unplugged", &number(&counts, "/unplugged"), &rounds)?;
    let names = counts["devices"].as_array().context("no devices")?;
    let gone = names.iter().filter(|device| device["unplugged"] == true).count();
    ensure!(gone == 1, "one place has had devices that have gone: {names:?}");
    after.is_back(&before, "after all rounds")?;
    let ended = vm.run_out()?;
    let checks = ended.passed()?;
    host::nothing_left()?;
    Ok(format!("{rounds} devices came and went, {checks} checks"))
}
