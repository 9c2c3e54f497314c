//! VFIO from a foreign container: devices, groups, containers and DMA mappings are those of a VMM that has opened them itself
//! (`host/vmm/foreign-vfio`), and the library gets what such a VMM has.

use std::fs;

use anyhow::{Context, Result};

use super::driver::findings;
use super::product::ONE_CPU;
use crate::build::Programs;
use crate::lab::{Iommu, Options};
use crate::runner::{Batch, Finding};

pub(super) const PROGRAM: &str = "pvir-foreign-vfio";
/// A NIC, a device with a single MSI, and the NIC's twin.
const DEVICES: [&str; 3] = ["igb", "edu", "igb"];

pub(super) const INTEL: Batch = Batch {
    cases: &[
        ("intel/foreign", "devices that a VMM opened itself: by descriptor, by object, in its container"),
        (
            "intel/foreign-another",
            "an open device is refused that is not the one at the address it is given for",
        ),
    ],
    run: |names| run(Iommu::Intel, names),
};

pub(super) const AMD: Batch = Batch {
    cases: &[("amd/foreign", "devices that a VMM opened itself: by descriptor, by object, in its container")],
    run: |names| run(Iommu::Amd, names),
};

fn run(iommu: Iommu, names: &[&str]) -> Result<Vec<Finding>> {
    let payload = tempfile::tempdir().context("cannot make a folder for the payload")?;
    let program = Programs::build_beside(PROGRAM)?;
    fs::copy(&program, payload.path().join(PROGRAM))
        .with_context(|| format!("cannot copy {}", program.display()))?;
    let devices = DEVICES.map(String::from).to_vec();
    let folder = payload.path().to_owned();
    findings(&Options { iommu, cpus: ONE_CPU, devices, payload: Some(folder), ..Options::default() }, names)
}
