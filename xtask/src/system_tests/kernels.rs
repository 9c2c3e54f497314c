//! Other kernels and modules in L1 than the usual ones. Where they cannot be fetched or built, their cases are skipped.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::driver::findings;
use super::in_lab;
use super::product::{DEVICES as PRODUCT, ONE_CPU};
use crate::lab::{self, Iommu, Kernel, Options};
use crate::runner::{Batch, Finding, Step, Verdict, skip};

pub(super) const IOMMUFD: Step = Step {
    name: "lab/iommufd",
    about: "modules built for Debian's own kernel: /dev/iommu and a file for each device, beside the groups",
    run: iommufd,
};

/// The main cases of the product once more, with the newest kernel of Debian's as the host. What a kernel does otherwise
/// shows in these: the form of pairs and of tables, KVM's and VFIO's calls, the counts of each step.
pub(super) const INTEL_NEW: Batch = Batch {
    cases: &[
        ("intel-new/counts", "exits and ioctls of each step, by pvir and by KVM"),
        ("intel-new/conformance", "every statement of the contract, on igb and edu"),
        (
            "intel-new/blocked-msix",
            "pairs that were not given, and another NIC's, reach nobody and are logged",
        ),
        ("intel-new/trapped", "MSI-X and MSI trapped, then enabled over live interrupts, then trapped again"),
        ("intel-new/several", "four devices in one call: interrupts of all, none mixed"),
        ("intel-new/resets", "function level resets by the guest: entries stay mapped and come back masked"),
    ],
    run: |names| newest(Iommu::Intel, ONE_CPU, names),
};

pub(super) const AMD_NEW: Batch = Batch {
    cases: &[
        ("amd-new/counts", "exits and ioctls of each step, by pvir and by KVM"),
        ("amd-new/conformance", "every statement of the contract, on igb and edu"),
        ("amd-new/blocked-msix", "pairs that were not given reach nobody"),
        ("amd-new/trapped", "MSI-X and MSI trapped, then enabled over live interrupts, then trapped again"),
        ("amd-new/several", "four devices in one call: interrupts of all, none mixed"),
        ("amd-new/resets", "function level resets by the guest: entries stay mapped and come back masked"),
    ],
    run: |names| newest(Iommu::Amd, ONE_CPU, names),
};

/// The host's own interrupts move from one of its CPUs to another.
pub(super) const INTEL_NEW_MOVES: Batch = Batch {
    cases: &[(
        "intel-new/pairs",
        "pair, table and IRTE agree, before and after the guest's and the host's moves",
    )],
    run: |names| newest(Iommu::Intel, 2, names),
};

pub(super) const AMD_NEW_MOVES: Batch = Batch {
    cases: &[("amd-new/pairs", "pair and table agree, before and after the guest's and the host's moves")],
    run: |names| newest(Iommu::Amd, 2, names),
};

/// Two CPUs, between which the host moves its interrupts.
pub(super) const INTEL_PATCHED: Batch = Batch {
    cases: &[(
        "intel-patched/kernel-messages",
        "pairs that a patched VFIO returns name IRTEs of the device, before and after moves; MSI; other features",
    )],
    run: |names| patched(Iommu::Intel, 2, names),
};

pub(super) const AMD_PATCHED: Batch = Batch {
    cases: &[(
        "amd-patched/kernel-messages",
        "pairs that a patched VFIO returns raise their interrupts, before and after moves; MSI; other features",
    )],
    run: |names| patched(Iommu::Amd, 2, names),
};

pub(super) const INTEL_FORWARDING: Batch = Batch {
    cases: &[(
        "intel-patched/kernel-hypercalls",
        "VMMCALL that a patched KVM forwards: its cost beside the others, ring 3, KVM's own, other capabilities",
    )],
    run: |names| patched(Iommu::Intel, ONE_CPU, names),
};

pub(super) const AMD_FORWARDING: Batch = Batch {
    cases: &[(
        "amd-patched/kernel-hypercalls",
        "VMMCALL that a patched KVM forwards: its cost beside the others, ring 3, KVM's own, other capabilities",
    )],
    run: |names| patched(Iommu::Amd, ONE_CPU, names),
};

fn patched(iommu: Iommu, cpus: u16, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = vec!["igb".to_owned(), "edu".to_owned()];
    unless_missing(&Options { iommu, patched: true, cpus, devices, ..Options::default() }, names)
}

fn newest(iommu: Iommu, cpus: u16, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = PRODUCT.map(String::from).to_vec();
    unless_missing(&Options { iommu, kernel: Kernel::Newest, cpus, devices, ..Options::default() }, names)
}

/// Findings of the cases, which are skipped where the lab cannot be had.
fn unless_missing(options: &Options, names: &[&str]) -> Result<Vec<Finding>> {
    match lab::missing(options) {
        None => findings(options, names),
        Some(missing) => Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    }
}

fn skipped(name: &str, missing: &str) -> Finding {
    Finding { name: name.to_owned(), result: Ok(Verdict::Skipped(missing.to_owned())), took: Duration::ZERO }
}

/// Two groups: one device alone, and two that share one.
const DEVICES: [&str; 3] = ["igb", "edu,multifunction=on,addr=0x10.0", "edu,addr=0x10.1"];

/// Prints the release, then a line for each device: the file by which it is opened, and its group's.
const SCRIPT: &str = "test -c /dev/iommu || exit 3; uname -r; for device in $PVIR_DEVICES; do \
    folder=/sys/bus/pci/devices/$device; file=/dev/vfio/devices/$(ls $folder/vfio-dev); \
    group=/dev/vfio/$(basename $(readlink $folder/iommu_group)); \
    test -c $file && test -c $group && echo device $file $group; done";

fn iommufd() -> Result<Verdict> {
    let devices = DEVICES.map(String::from).to_vec();
    let options = Options { iommufd: true, cpus: 1, devices, ..Options::default() };
    if let Some(missing) = lab::missing(&options) {
        return skip(missing);
    }
    let output = in_lab(&options, &["sh", "-c", SCRIPT], b"")?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let release = lines.next().unwrap_or_default();
    let devices: Vec<&str> = lines.filter(|line| line.starts_with("device ")).collect();
    ensure!(devices.len() == DEVICES.len(), "not every device has both files: {}", output.said());
    Ok(Verdict::Passed(format!("{release} as it is, and five modules")))
}
