//! What sysfs says about a PCI function: who drives it, and with whom it shares its IOMMU group.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Info {
    bdf: String,
    vendor: String,
    device: String,
    class: String,
    driver: Option<String>,
    iommu_group: Option<String>,
    group_members: Vec<String>,
}

pub(crate) fn of(bdf: &str) -> Result<Info> {
    let folder = Path::new("/sys/bus/pci/devices").join(bdf);
    if !folder.exists() {
        bail!("there is no PCI function {bdf}");
    }
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default().trim().to_owned();
    let link = |name: &str| {
        let target = fs::read_link(folder.join(name)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    };
    let members = fs::read_dir(folder.join("iommu_group/devices")).into_iter().flatten().flatten();
    let mut group_members: Vec<String> =
        members.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    group_members.sort();
    Ok(Info {
        bdf: bdf.to_owned(),
        vendor: text("vendor"),
        device: text("device"),
        class: text("class"),
        driver: link("driver"),
        iommu_group: link("iommu_group"),
        group_members,
    })
}
