//! The labs that are not the usual one come up, and are what they say.

use anyhow::{Result, ensure};

use super::in_lab;
use crate::lab::{Iommu, Options};
use crate::runner::{Step, Verdict};

pub(super) const AMD: Step =
    Step { name: "lab/amd", about: "AMD-Vi with interrupt remapping, four CPUs", run: amd };
pub(super) const OFF: Step = Step { name: "lab/off", about: "no IOMMU, so nothing can be bound", run: off };

fn amd() -> Result<Verdict> {
    let options = Options { iommu: Iommu::Amd, cpus: 4, devices: vec!["igb".into()], ..Options::default() };
    let script = "dmesg | grep -q 'AMD-Vi: Interrupt remapping enabled' && test $(nproc) = 4 \
                  && lab-witness device $PVIR_DEVICES";
    let output = in_lab(&options, &["sh", "-c", script], b"")?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let device = &output.json_lines()?[0];
    ensure!(device["driver"] == "vfio-pci", "{device} is not bound to vfio-pci");
    Ok(Verdict::passed())
}

fn off() -> Result<Verdict> {
    let options = Options { iommu: Iommu::Off, devices: vec!["edu".into()], ..Options::default() };
    let output = in_lab(&options, &["sh", "-c", "lab-witness device $PVIR_DEVICES"], b"")?;
    if output.status.is_none() {
        return Ok(Verdict::Interrupted);
    }
    output.expect_status(0)?;
    let device = &output.json_lines()?[0];
    ensure!(device["iommu_group"].is_null() && device["driver"].is_null(), "{device} has an IOMMU");
    Ok(Verdict::passed())
}
