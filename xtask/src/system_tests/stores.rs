//! Stores and routings beyond one entry to one processor, on real devices.

use anyhow::Result;

use super::driver::findings;
use super::product::ONE_CPU;
use crate::lab::{Iommu, Options};
use crate::runner::{Batch, Finding};

/// Devices 0 and 1: ten entries of MSI-X, and sixteen messages of MSI. Linux has no driver for the second here.
const DEVICES: [&str; 2] = ["igb", "nec-usb-xhci,msix=off"];

pub(super) const INTEL: Batch = Batch {
    cases: &[
        ("intel/multi", "sixteen messages of one MSI capability, their IRTEs, and exits to write it"),
        ("intel/routings", "logical destinations, lowest priority, the hint; refusals"),
        ("intel/dynamic", "entries come and go one by one while another fires"),
        (
            "intel/takeover",
            "a kernel that another one has started takes the VM over: nothing of the other is alive",
        ),
    ],
    run: |names| run(Iommu::Intel, names),
};

pub(super) const AMD: Batch = Batch {
    cases: &[
        ("amd/multi", "sixteen messages of one MSI capability, and exits to write it"),
        ("amd/dynamic", "entries come and go one by one while another fires"),
        (
            "amd/takeover",
            "a kernel that another one has started takes the VM over: nothing of the other is alive",
        ),
    ],
    run: |names| run(Iommu::Amd, names),
};

fn run(iommu: Iommu, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = DEVICES.map(String::from).to_vec();
    findings(&Options { iommu, cpus: ONE_CPU, devices, ..Options::default() }, names)
}
