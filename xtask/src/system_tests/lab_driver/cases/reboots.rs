//! A guest that resets its machine in the middle of its interrupts, again and again, in one process: each boot finds what
//! the first one found, and nothing is left of those before.

use std::env;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::CaseReport;
use crate::expect::{number, same};
use crate::footprint::Footprint;
use crate::host;
use crate::vm::Vm;

/// Boots of the case that counts, by the reset register, and of the others.
const MANY: u64 = 20;
const FEW: u64 = 3;
/// How the kernel resets its machine.
const WAYS: [&str; 3] = ["port", "keyboard", "triple"];
const EMULATED: &str = "emulated,vectors=10";

/// With the emulated device, on any KVM.
pub(super) fn emulated() -> Result<CaseReport> {
    let mut notes = Vec::new();
    for way in WAYS {
        notes.push(reboot(EMULATED, way, if way == "port" { asked_for(MANY)? } else { FEW })?);
    }
    Ok(notes.join("; ").into())
}

/// With a device of the host.
pub(super) fn passed_through() -> Result<CaseReport> {
    Ok(reboot(&format!("vfio={}", host::device(0)?), "port", asked_for(FEW)?)?.into())
}

/// As often as `PVIR_REBOOTS` says, otherwise so often.
fn asked_for(usual: u64) -> Result<u64> {
    match env::var("PVIR_REBOOTS") {
        Ok(times) => times.parse().with_context(|| format!("PVIR_REBOOTS={times}")),
        Err(_) => Ok(usual),
    }
}

fn reboot(device: &str, way: &str, times: u64) -> Result<String> {
    // Irqfds that are armed ahead come and go beside the guest.
    let arguments = ["--device", device, "--on-reboot", "restart", "--armed-ahead", "0", "--no-history"];
    let mut vm = Vm::start(&arguments, &format!("reboot by={way} checkpoints"))?;
    let mut first: Option<Footprint> = None;
    let mut epoch = 0;
    for boot in 0..=times {
        vm.until("traffic").with_context(|| format!("boot {boot}"))?;
        let boots = vm.events("boot");
        let said = boots.last().context("no event `boot`")?;
        same("boots", &(boots.len() as u64), &(boot + 1))?;
        ensure!(number(said, "/epoch") > epoch, "epoch {epoch} is followed by {said}");
        epoch = number(said, "/epoch");
        let failed: Vec<Value> =
            vm.events("check").into_iter().filter(|check| check["outcome"] == "FAILED").collect();
        ensure!(failed.is_empty(), "boot {boot}: {failed:?}");
        let counts = vm.counts()?;
        same("restarts", &number(&counts, "/restarts"), &boot)?;
        let now = Footprint::of(&mut vm)?;
        match &first {
            Some(first) => same(&format!("what is held in boot {boot}"), &now, first)?,
            None => first = Some(now),
        }
        if boot < times {
            vm.resume()?;
        }
    }
    vm.signal(Signal::TERM)?;
    let ended = vm.finish()?;
    same("exit status", &ended.status, &Some(130))?;
    same("restarts", &number(&ended.report, "/restarts"), &times)?;
    host::nothing_left()?;
    Ok(format!("{times} resets by {way}, epoch {epoch}"))
}
