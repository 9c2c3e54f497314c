//! Host devices by their own files and an iommufd, beside those by groups. The lab has to have iommufd.

use anyhow::{Context, Result, ensure};

use super::several;
use crate::CaseReport;
use crate::expect::{number, same};
use crate::host;
use crate::vm::Ended;
use crate::witness::has_intel;

const DIRECT: &str = "direct interrupts=200";

/// How often an ioctl was called.
fn ioctls(ended: &Ended, name: &str) -> u64 {
    number(&ended.report, &format!("/ioctls/{name}"))
}

/// A device with MSI-X, one with MSI and both functions of a group, in one IOAS: what is chosen, what is called, and that
/// interrupts (on Intel DMA too) reach the guest.
pub(super) fn ways() -> Result<CaseReport> {
    let devices = (0..5).filter(|position| *position != 2).map(host::device).collect::<Result<Vec<_>>>()?;
    let mut said = Vec::new();
    for (way, cdevs) in [("cdev", 4), ("auto", 4), ("group", 0)] {
        let ended = several::run(&devices, &["--mode", "direct", "--vfio", way, "-v"], DIRECT)?;
        let chosen = if cdevs > 0 { "opened by cdev" } else { "opened by group" };
        ensure!(ended.stderr.contains(chosen), "{way}: not {chosen}: {}", ended.stderr);
        for (name, count) in [("VFIO_DEVICE_BIND_IOMMUFD", cdevs), ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", cdevs)] {
            same(name, &ioctls(&ended, name), &count).context(way)?;
        }
        let (ioas, container) = (ioctls(&ended, "IOMMU_IOAS_MAP"), ioctls(&ended, "VFIO_IOMMU_MAP_DMA"));
        // RAM is mapped once, however many devices there are.
        let (mapped, other) = if cdevs > 0 { (ioas, container) } else { (container, ioas) };
        ensure!(mapped == 1 && other == 0, "{way}: mapped {ioas} times by iommufd, {container} by VFIO");
        let delivered = ended.checks("delivered");
        ensure!(
            delivered.len() == 8 && delivered.iter().all(|outcome| *outcome == "ok"),
            "{way}: {delivered:?}"
        );
        host::nothing_left().context(way)?;
        said.push(format!("{way} ({} checks)", ended.passed()?));
    }
    if has_intel() {
        let ended = several::run(&devices[..1], &["--mode", "direct", "--vfio", "cdev"], "ims rounds=20")?;
        said.push(format!("DMA ({} checks)", ended.passed()?));
    }
    Ok(format!("four devices of three groups in one IOAS: {}", said.join(", ")).into())
}
