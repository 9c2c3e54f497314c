//! The floor in counts: what N vectors cost, ours and trapped, in the lab and on the machine's own KVM.

mod table;

use std::time::Duration;

use anyhow::Result;

use super::driver::{Driven, drive, drive_here};
use super::own_kvm::{skipped, usable};
use super::product::ONE_CPU;
use crate::lab::{Iommu, Options};
use crate::runner::{Batch, Finding, Verdict};

/// Devices 0 and 1: ten entries of MSI-X, and 65.
const DEVICES: [&str; 2] = ["igb", "nvme,serial=pvir"];
const ABOUT: &str =
    "set-up, mask, retarget, interrupts and tear-down of N vectors cost no more than they must";

pub(super) const INTEL: Batch =
    Batch { cases: &[("intel/floor", ABOUT)], run: |names| lab(Iommu::Intel, names) };

pub(super) const AMD: Batch = Batch { cases: &[("amd/floor", ABOUT)], run: |names| lab(Iommu::Amd, names) };

pub(super) const OWN_KVM: Batch = Batch {
    cases: &[("kvm/floor", ABOUT), (BY_KERNEL, "the same, confirmed by the kernel's own counters")],
    run: own_kvm,
};

const BY_KERNEL: &str = "kvm/floor-by-kernel";
const NO_COUNTERS: &str =
    "the tracepoint kvm_userspace_exit in this machine's tracefs; the lab has it (intel/floor)";

fn lab(iommu: Iommu, names: &[&str]) -> Result<Vec<Finding>> {
    let devices = DEVICES.map(String::from).to_vec();
    let driven = drive(&Options { iommu, cpus: ONE_CPU, devices, ..Options::default() }, names)?;
    Ok(driven.into_iter().map(shown).collect())
}

/// The finding of a case, with its table.
fn shown(Driven { mut finding, data }: Driven) -> Finding {
    if let (Ok(Verdict::Passed(note)), Some(table)) = (&finding.result, table::render(&data)) {
        finding.result = Ok(Verdict::Measured { note: note.clone(), table });
    }
    finding
}

/// The lab's driver, outside of the lab.
fn own_kvm(names: &[&'static str]) -> Result<Vec<Finding>> {
    let programs = match usable()? {
        Ok(programs) => programs,
        Err(missing) => return Ok(names.iter().map(|name| skipped(name, &missing)).collect()),
    };
    let driven = drive_here(&programs, "floor-own-kvm", "kvm/floor", &[])?;
    let by_kernel = driven.data["by_kernel"] == true;
    let counts = shown(driven);
    let failed = counts.result.is_err();
    let confirmed = match (by_kernel, failed) {
        (true, false) => {
            Some(Finding { name: BY_KERNEL.to_owned(), result: Ok(Verdict::passed()), took: Duration::ZERO })
        }
        (false, false) => Some(skipped(BY_KERNEL, NO_COUNTERS)),
        // What failed is said once; this one was not checked.
        (_, true) => None,
    };
    let all = [Some(counts), confirmed].into_iter().flatten();
    Ok(all.filter(|finding| names.contains(&finding.name.as_str())).collect())
}
