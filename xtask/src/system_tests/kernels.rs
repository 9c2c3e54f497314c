//! Other kernels and modules in L1 than the usual ones. Where they cannot be fetched or built, their cases are skipped.

use anyhow::{Result, ensure};

use super::in_lab;
use crate::lab::{self, Options};
use crate::runner::{Step, Verdict, skip};

pub(super) const IOMMUFD: Step = Step {
    name: "lab/iommufd",
    about: "modules built for Debian's own kernel: /dev/iommu and a file for each device, beside the groups",
    run: iommufd,
};

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
