//! A modern virtio function, whose driver finds everything by vendor-specific capabilities (Virtual I/O Device
//! Specification 1.2, section 4.1.4 "Virtio Structure PCI Capabilities").

use anyhow::{Context, Result, ensure};

use super::counts::{Counts, InterruptCounts};
use super::{Console, boot_with};
use crate::lab::Iommu;
use crate::runner::Verdict;

/// The IOMMU is the device's as well, as for a device that is no model of QEMU's.
const CARD: &str = "virtio-net-pci,disable-legacy=on,iommu_platform=on";
/// The feature that a legacy device does not have (section 6 "Reserved Feature Bits", `VIRTIO_F_VERSION_1`).
const VERSION_1: usize = 32;

pub(super) fn run() -> Result<Verdict> {
    let output = boot_with(CARD, Iommu::Intel, [0, 1], "", "pvir.run=virtio", &["-v"])?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let console = Console::of(&output);
    console.report("guest-power-off")?;
    let note = check(&console).with_context(|| format!("the console:\n{}", console.0))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let told = said.lines().find(|line| line.contains("not shown to the guest: "));
    ensure!(told.is_some_and(|line| line.contains("option ROM")), "pvir did not say it: {said}");
    Ok(Verdict::Passed(note))
}

fn check(console: &Console) -> Result<String> {
    ensure!(console.said("driver ") == Some("virtio_net nic=eth0"), "the card has not its driver");
    let features = console.said("features ").context("no features")?;
    ensure!(features.as_bytes().get(VERSION_1) == Some(&b'1'), "it is a legacy device: {features}");
    console.said("done").context("the guest's script did not come to its end")?;
    let counts = InterruptCounts::find(&console.0, "@counts after ")?;
    let queues = counts.lines.iter().filter(|line| line.entry.is_some() && line.name.contains("put."));
    let total: u64 = queues.map(Counts::total).sum();
    ensure!(total > 0, "no interrupt of its queues");
    Ok(format!("{total} interrupts of its queues"))
}
