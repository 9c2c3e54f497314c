//! Two VMs at once, each with its own device: neither sees the other's interrupts, nor can it send any.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::guest::{FOREIGN, faults, quiet_log};
use crate::CaseReport;
use crate::expect::{same, text};
use crate::host;
use crate::vm::Vm;
use crate::witness::ask;

pub(super) fn run() -> Result<CaseReport> {
    Ok(side_by_side(&[host::device(0)?, host::device(2)?], 10)?.into())
}

/// A VM for each of the devices, which have `entries` entries of MSI-X each.
pub(super) fn side_by_side(devices: &[String], entries: usize) -> Result<String> {
    let mut vms = Vec::new();
    for device in devices {
        vms.push(Vm::start(&["--device", &format!("vfio={device}")], "direct interrupts=2000 checkpoints")?);
    }
    for checkpoint in ["enabled", "mapped"] {
        for vm in &mut vms {
            vm.until(checkpoint)?;
        }
        if checkpoint == "mapped" {
            break;
        }
        for vm in &mut vms {
            vm.resume()?;
        }
    }
    let mut seen = BTreeSet::new();
    for (vm, device) in vms.iter().zip(devices) {
        ensure!(ask(&["irqs", device])?.len() == entries, "{device} has not all its interrupts");
        for entry in vm.events("entry") {
            // on AMD-Vi pairs are per device, so the device belongs to what must differ
            let pair = format!("{device} {} {}", text(&entry, "address"), entry["data"]);
            ensure!(seen.insert(pair), "two entries have one pair: {entry}");
        }
    }
    for vm in &mut vms {
        vm.resume()?;
    }
    for vm in vms {
        vm.run_out()?.passed()?;
    }
    Ok(format!("{} entries live at once, 2,000 interrupts in each VM", seen.len()))
}

/// One VM's guest writes a live pair of the other VM into its own device's table.
pub(super) fn attack() -> Result<CaseReport> {
    let (attacker, victim) = (host::device(0)?, host::device(2)?);
    let mut other = Vm::start(&["--device", &format!("vfio={victim}")], "direct interrupts=400 checkpoints")?;
    other.until("enabled")?;
    other.resume()?;
    other.until("mapped")?;
    let entry = other.events("entry").into_iter().next().context("no entry was mapped")?;
    let words = format!("blocked foreign-address={} foreign-data={}", text(&entry, "address"), entry["data"]);
    let known = quiet_log()?;
    let ended = Vm::start(&["--device", &format!("vfio={attacker}")], &words)?.finish()?;
    ended.passed()?;
    same("pair-of-another-vm", &ended.checks("pair-of-another-vm"), &vec!["ok"])?;
    let faults = faults()?.split_off(known);
    let foreign: Vec<_> = faults.iter().filter(|fault| text(fault, "reason") == FOREIGN).collect();
    ensure!(foreign.len() == 1, "the kernel's log does not show the attack alone: {faults:?}");
    same("device of the fault", &format!("0000:{}", text(foreign[0], "device")), &attacker)?;
    // its guest has counted every interrupt: one that it did not raise would show
    other.run_out()?.passed()?;
    Ok(format!("a live pair of another VM: blocked, one fault {FOREIGN}, nothing arrived in either").into())
}
