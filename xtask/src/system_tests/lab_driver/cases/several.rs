//! Several devices in one VM: together in one call, as one group, and within quotas.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::refused::refused;
use crate::CaseReport;
use crate::expect::{grown, number, same};
use crate::host;
use crate::vm::{DETACHED, Ended, Vm};

/// A VM with these devices of the lab, and others; answers when its guest has passed.
pub(super) fn run(devices: &[String], others: &[&str], words: &str) -> Result<Ended> {
    let ended = start(devices, others, words)?.finish()?;
    ended.passed()?;
    Ok(ended)
}

fn start(devices: &[String], others: &[&str], words: &str) -> Result<Vm> {
    let devices: Vec<String> = devices.iter().map(|device| format!("vfio={device}")).collect();
    let devices = devices.iter().flat_map(|device| ["--device", device]);
    Vm::start(&devices.chain(others.iter().copied()).collect::<Vec<_>>(), words)
}

/// Two NICs with MSI-X, a device with MSI between them, and an emulated one: one call maps all their entries.
pub(super) fn together() -> Result<CaseReport> {
    let devices = (0..3).map(host::device).collect::<Result<Vec<_>>>()?;
    let others = ["--device", "emulated,vectors=5", "--armed-ahead", "0"];
    let mut vm = start(&devices, &others, "several interrupts=100 checkpoints")?;
    let entries = 10 + 1 + 10 + 5;
    vm.until("opened")?;
    let mut before = vm.counts()?;
    for checkpoint in ["mapped", "raised", "unmapped"] {
        vm.resume()?;
        vm.until(checkpoint)?;
        let detached = number(&before["ioctls"], &format!("/{DETACHED}"));
        let after = vm.counts_detached(detached + if checkpoint == "unmapped" { entries } else { 0 })?;
        let ioctls = grown(&before["ioctls"], &after["ioctls"]);
        let calls = grown(&before["service"]["operations"], &after["service"]["operations"]).values().sum();
        step(checkpoint, entries, &ioctls, calls).with_context(|| format!("step to {checkpoint}"))?;
        before = after;
    }
    vm.resume()?;
    let ended = vm.finish()?;
    ended.passed()?;
    same("checks of delivery", &ended.checks("delivered"), &vec!["ok"])?;
    Ok(format!("{entries} entries of 4 devices: mapped and given back with one call and one KVM_SET_GSI_ROUTING each; 100 rounds, none mixed").into())
}

fn step(checkpoint: &str, entries: u64, ioctls: &BTreeMap<String, u64>, calls: u64) -> Result<()> {
    let (batch, irqfds) = match checkpoint {
        "mapped" => (1, "KVM_IRQFD"),
        "unmapped" => (1, DETACHED),
        _ => (0, "KVM_IRQFD"),
    };
    same("calls", &calls, &batch)?;
    for (name, expected) in [("KVM_SET_GSI_ROUTING", batch), (irqfds, batch * entries)] {
        same(name, &ioctls.get(name).copied().unwrap_or(0), &expected)?;
    }
    Ok(())
}

/// Both functions of a group in one VM work; one of them alone is refused.
pub(super) fn group() -> Result<CaseReport> {
    let devices = [host::device(3)?, host::device(4)?];
    let ended = run(&devices, &[], "direct interrupts=200")?;
    let seen = ended.checks("delivered");
    ensure!(seen.len() == 4 && seen.iter().all(|outcome| *outcome == "ok"), "deliveries: {seen:?}");
    refused(&devices[0], &["shares IOMMU group", &devices[1]])?;
    Ok("both functions of a group in one VM work, one of them alone is refused".to_owned().into())
}

/// The guest runs into both quotas.
pub(super) fn quotas() -> Result<CaseReport> {
    let devices = [host::device(0)?, host::device(2)?];
    let ended = run(&devices, &["--max-irtes", "6", "--max-irtes-per-device", "4"], "quotas")?;
    for name in ["quota-of-device", "quota-of-vm", "quota-after-unmap"] {
        same(name, &ended.checks(name), &vec!["ok"])?;
    }
    let session = ended.of_kind("session");
    same(
        "quota that the guest was told",
        &session.first().map(|event| number(event, "/max_irtes")),
        &Some(6),
    )?;
    Ok("6 for the VM, 4 for a device: the rest NO_QUOTA, all or nothing aborted, the other device unharmed"
        .to_owned()
        .into())
}
