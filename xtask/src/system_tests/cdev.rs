//! Devices by their own files and an iommufd, which the lab's kernel gets by modules that are built for it. Where these
//! cannot be had, the cases are skipped.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::driver::findings;
use super::foreign::PROGRAM;
use super::product::{DEVICES, NO_NESTED_PAGING, ONE_CPU};
use crate::build::Programs;
use crate::lab::{self, Iommu, Options};
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
            "intel/cdev-plug",
            "a card of the host is plugged and unplugged by its own file, beside a busy device",
        ),
        (
            "intel/cdev-wanted-back",
            "the host unbinds a device in use: pvir says so and ends, and the host gets it",
        ),
        ("intel/cdev-in-use", "a device that another VM has, in each combination of the ways: told"),
        (
            "intel/cdev-not-permitted",
            "a driver or another iommufd has another device of the group: told apart",
        ),
        ("intel/cdev-unsafe-interrupts", "iommufd's switch: refused by --mode direct, trapped by default"),
        ("intel/cdev-foreign", "a VMM with an iommufd of its own: by descriptor, and in its IOAS"),
    ],
    run: |names| run(Iommu::Intel, "", names),
};

pub(super) const AMD: Batch = Batch {
    cases: &[
        ("amd/cdev-ways", "four devices of three groups in one IOAS; --vfio cdev, auto and group"),
        ("amd/cdev-counts", "exits and ioctls of each step, by pvir and by KVM"),
        ("amd/cdev-conformance", "every statement of the contract, on igb and edu"),
        ("amd/cdev-several", "four devices in one call: interrupts of all, none mixed"),
        ("amd/cdev-trapped", "MSI-X and MSI trapped, then enabled over live interrupts, then trapped again"),
        ("amd/cdev-resets", "function level resets by the guest: entries stay mapped and come back masked"),
        (
            "amd/cdev-plug",
            "a card of the host is plugged and unplugged by its own file, beside a busy device",
        ),
        ("amd/cdev-not-permitted", "a driver or another iommufd has another device of the group: told apart"),
        ("amd/cdev-foreign", "a VMM with an iommufd of its own: by descriptor, and in its IOAS"),
    ],
    run: |names| run(Iommu::Amd, "", names),
};

/// Two VMs at once.
pub(super) const INTEL_BESIDE: Batch = Batch {
    cases: &[("intel/cdev-beside-groups", "a VM by a group and one by iommufd at once")],
    run: |names| run(Iommu::Intel, NO_NESTED_PAGING, names),
};

pub(super) const AMD_BESIDE: Batch = Batch {
    cases: &[("amd/cdev-beside-groups", "a VM by a group and one by iommufd at once")],
    run: |names| run(Iommu::Amd, NO_NESTED_PAGING, names),
};

pub(super) const NO_REMAP: Batch = Batch {
    cases: &[(
        "intel-no-remap/cdev-no-remapping",
        "a host without interrupt remapping is refused, by iommufd too",
    )],
    run: |names| run(Iommu::IntelNoRemap, "", names),
};

fn run(iommu: Iommu, append: &str, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = DEVICES.map(String::from).to_vec();
    let payload = tempfile::tempdir().context("cannot make a folder for the payload")?;
    let options = Options {
        iommu,
        iommufd: true,
        cpus: ONE_CPU,
        devices,
        append: append.into(),
        payload: Some(payload.path().to_owned()),
        ..Options::default()
    };
    if let Some(missing) = lab::missing(&options) {
        return Ok(names.iter().map(|name| skipped(name, &missing)).collect());
    }
    copy(payload.path())?;
    findings(&options, names)
}

/// The VMM with an iommufd of its own.
fn copy(folder: &Path) -> Result<()> {
    let program = Programs::build_beside(PROGRAM)?;
    let copied = fs::copy(&program, folder.join(PROGRAM));
    copied.with_context(|| format!("cannot copy {}", program.display())).map(|_| ())
}

fn skipped(name: &str, missing: &str) -> Finding {
    Finding { name: name.to_owned(), result: Ok(Verdict::Skipped(missing.to_owned())), took: Duration::ZERO }
}
