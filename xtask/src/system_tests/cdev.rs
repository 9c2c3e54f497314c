//! Devices by their own files and an iommufd, which the lab's kernel gets by modules that are built for it. Where these
//! cannot be had, the cases are skipped.

use std::time::Duration;

use anyhow::Result;

use super::driver::findings;
use super::product::{DEVICES, ONE_CPU};
use crate::lab::{self, Options};
use crate::runner::{Batch, Finding, Verdict};

pub(super) const INTEL: Batch = Batch {
    cases: &[
        ("intel/cdev-ways", "four devices of three groups in one IOAS; --vfio cdev, auto and group; DMA"),
        ("intel/cdev-counts", "exits and ioctls of each step, by pvir and by KVM"),
        ("intel/cdev-conformance", "every statement of the contract, on igb and edu"),
        ("intel/cdev-several", "four devices in one call: interrupts of all, none mixed"),
        ("intel/cdev-group", "both functions of an IOMMU group"),
        (
            "intel/cdev-trapped",
            "MSI-X and MSI trapped, then enabled over live interrupts, then trapped again",
        ),
        ("intel/cdev-resets", "function level resets by the guest: entries stay mapped and come back masked"),
        (
            "intel/cdev-wanted-back",
            "the host unbinds a device in use: pvir says so and ends, and the host gets it",
        ),
    ],
    run,
};

fn run(names: &[&str]) -> Result<Vec<Finding>> {
    let devices = DEVICES.map(String::from).to_vec();
    let options = Options { iommufd: true, cpus: ONE_CPU, devices, ..Options::default() };
    match lab::missing(&options) {
        None => findings(&options, names),
        Some(missing) => Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    }
}

fn skipped(name: &str, missing: &str) -> Finding {
    Finding { name: name.to_owned(), result: Ok(Verdict::Skipped(missing.to_owned())), took: Duration::ZERO }
}
