//! What a campaign does again and again: one turn of each, on the machine's own KVM and in the lab.

mod attacks;
mod failing;
mod kills;
mod neighbours;
mod retargets;

pub(crate) use attacks::{bites as isolation_bites, isolation};
pub(super) use failing::a_few as fail_a_few;
pub(crate) use failing::{ERRNOS, Met, inject, start_up, works};
pub(crate) use kills::{kill, life};
pub(crate) use neighbours::{LOADS, beside};
pub(super) use retargets::{MACHINE, moved};
pub(crate) use retargets::{Moved, in_lab as retargets_in_lab, on_own_kvm as retargets_on_own_kvm};

use anyhow::{Result, bail};

use super::driver::{Driven, drive};
use super::own_kvm::usable;
use crate::build::Programs;
use crate::lab::{Iommu, Options};
use crate::runner::Verdict;

/// The programs; an error says what this machine lacks.
pub(crate) fn programs() -> Result<Programs> {
    match usable()? {
        Ok(programs) => Ok(programs),
        Err(missing) => bail!("this is missing: {missing}"),
    }
}

/// A case of `lab-driver` in a lab of its own, so often as its rounds say; what it says, and its data.
fn in_a_lab(
    iommu: Iommu,
    cpus: u16,
    devices: &[&str],
    case: &str,
    rounds: u64,
) -> Result<(String, serde_json::Value)> {
    in_this_lab(iommu, cpus, devices, (case, rounds), "")
}

/// The same with more words for the command line of the lab's kernel.
fn in_this_lab(
    iommu: Iommu,
    cpus: u16,
    devices: &[&str],
    (case, rounds): (&str, u64),
    words: &str,
) -> Result<(String, serde_json::Value)> {
    let options = Options {
        iommu,
        cpus,
        devices: devices.iter().map(|device| (*device).to_owned()).collect(),
        append: format!("{} {words}", super::product::NO_NESTED_PAGING).trim_end().into(),
        variables: vec![format!("PVIR_ROUNDS={rounds}").into()],
        ..Options::default()
    };
    let Some(Driven { finding, data }) = drive(&options, &[case])?.pop() else {
        bail!("lab-driver said nothing")
    };
    match finding.result? {
        Verdict::Passed(note) => Ok((note, data)),
        Verdict::Skipped(missing) => bail!("this is missing: {missing}"),
        _ => bail!("interrupted"),
    }
}

/// A guest that raises and moves interrupts in this lab's first device, killed in the middle so often.
pub(crate) fn killed_in_lab(iommu: Iommu, rounds: u64) -> Result<String> {
    Ok(in_a_lab(iommu, 1, &["igb"], "killed", rounds)?.0)
}
