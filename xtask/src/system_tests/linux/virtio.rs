//! A modern virtio function, whose driver finds everything by vendor-specific capabilities (Virtual I/O Device
//! Specification 1.2, section 4.1.4 "Virtio Structure PCI Capabilities"). First with its table trapped, then with the
//! module, which takes it from its driver at work.

use anyhow::{Context, Result, ensure};

use super::counts::{Counts, InterruptCounts};
use super::{COMMAND_LINE, Console, pvir};
use crate::lab::{Iommu, Options};
use crate::linux_module::Built;
use crate::linux_module::life::{Record, SCRIPT};
use crate::runner::Verdict;
use crate::system_tests::command::in_lab;

/// The IOMMU is the device's as well, as for a device that is no model of QEMU's.
const CARD: &str = "virtio-net-pci,netdev=net,disable-legacy=on,iommu_platform=on";
/// The feature that a legacy device does not have (section 6 "Reserved Feature Bits", `VIRTIO_F_VERSION_1`).
const VERSION_1: usize = 32;
/// What is done with the module.
const WITH_MODULE: [&str; 4] = ["traffic", "moves", "offline", "rebind"];

pub(super) fn run() -> Result<Verdict> {
    let built = pvir::built()?;
    let modules = built.as_ref().map_or(Ok(Vec::new()), Built::all)?;
    let options = Options {
        iommu: Iommu::Intel,
        // as for all lives of drivers with the module
        cpus: 1,
        linux_guest: true,
        guest_modules: modules,
        append: "kvm_amd.npt=0".into(),
        devices: vec![CARD.into()],
        // a network of QEMU's own, in which 10.0.2.2 answers
        qemu: vec!["-netdev".into(), "user,id=net,restrict=on".into()],
        ..Options::default()
    };
    let command = format!(
        "exec pvir run -v --cpus 2 --memory 512M --json - --append \"{COMMAND_LINE} pvir.run=virtio\" \
         --device vfio=$PVIR_DEVICES --initrd $PVIR_INITRD $PVIR_LINUX"
    );
    let output = in_lab(&options, &["sh", "-c", SCRIPT, "sh", "pvir", &command], b"")?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let console = Console::of(&output);
    let mut note = check(&console).with_context(|| format!("the console:\n{}", console.0))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let told = said.lines().find(|line| line.contains("not shown to the guest: "));
    ensure!(told.is_some_and(|line| line.contains("option ROM")), "pvir did not say it: {said}");
    let record = Record::read(&console.0)?;
    record.is_whole()?;
    match built {
        Ok(_) => note.push_str(&with_module(&record).with_context(|| record.end())?),
        Err(missing) => note.push_str(&format!("; without the module for lack of {missing}")),
    }
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

fn with_module(record: &Record) -> Result<String> {
    // the configuration's, and those of a pair of queues; when it is taken, and after its driver has come again
    let routed: Vec<&str> = record.said("routed ").map(str::trim).collect();
    ensure!(routed == ["3", "3"], "{routed:?} of its interrupts are routed by the host");
    for name in WITH_MODULE {
        pvir::no_table_exits(record.step(&format!("virtio {name}"))?)?;
    }
    pvir::silent(record.step("virtio traffic")?)?;
    ensure!(record.step("virtio moves")?.all_calls() > 0, "no move was asked for");
    Ok("; taken at work by the module, no exit by its table".into())
}
