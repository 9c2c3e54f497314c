//! Two VMs at once, each with its own device: neither sees the other's interrupts.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::Shown;
use crate::expect::text;
use crate::host;
use crate::vm::Vm;
use crate::witness::ask;

pub(super) fn run() -> Result<Shown> {
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
