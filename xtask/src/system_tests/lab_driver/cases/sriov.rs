//! Virtual functions: several in one VM, then one in each of two VMs at once. The physical function stays with its own
//! driver on the host.

use std::fs;
use std::path::Path;
use std::process::Command;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{several, two};
use crate::CaseReport;
use crate::expect::same;
use crate::host;

const FUNCTIONS: usize = 3;
/// For what the kernel makes of them to appear.
const PATIENCE: Duration = Duration::from_secs(5);
/// MSI-X entries of each.
const ENTRIES: usize = 3;

pub(super) fn run() -> Result<CaseReport> {
    let physical = host::device(0)?;
    host::bind(&physical, Some("igb"))?;
    let result = with(&physical);
    fs::write(host::folder(&physical).join("sriov_numvfs"), "0").context("sriov_numvfs")?;
    host::bind(&physical, Some("vfio-pci"))?;
    result
}

fn with(physical: &str) -> Result<CaseReport> {
    bring_up(physical)?;
    let functions = create(physical)?;
    let ended = several::run(&functions, &[], "several interrupts=100")?;
    same("checks of delivery", &ended.checks("delivered"), &vec!["ok"])?;
    let entries = ended.of_kind("mapped");
    let mapped = entries.first().and_then(|event| event["entries"].as_u64());
    same("entries mapped", &mapped, &u64::try_from(FUNCTIONS * ENTRIES).ok())?;
    let shown = two::side_by_side(&functions[..2], ENTRIES)?;
    Ok(format!("{FUNCTIONS} functions in one VM, none mixed; then two VMs: {shown}").into())
}

/// Virtual functions are deaf until the physical one is up.
fn bring_up(physical: &str) -> Result<()> {
    let folder = host::folder(physical).join("net");
    let interface =
        wait_for(|| fs::read_dir(&folder).ok()?.flatten().next()).context("igb made no interface")?;
    let status = Command::new("ip").args(["link", "set", "up", "dev"]).arg(interface.file_name()).status()?;
    ensure!(status.success(), "the interface of {physical} does not come up");
    Ok(())
}

/// Makes the functions and gives them to vfio-pci.
fn create(physical: &str) -> Result<Vec<String>> {
    let folder = host::folder(physical);
    // no driver of the host's own shall see them
    fs::write(folder.join("sriov_drivers_autoprobe"), "0").context("sriov_drivers_autoprobe")?;
    fs::write(folder.join("sriov_numvfs"), FUNCTIONS.to_string()).context("sriov_numvfs")?;
    let mut functions = Vec::new();
    for number in 0..FUNCTIONS {
        let link = fs::read_link(folder.join(format!("virtfn{number}")))?;
        let bdf = link.file_name().map(|name| name.to_string_lossy().into_owned()).context("virtfn")?;
        ensure!(Path::new("/sys/bus/pci/devices").join(&bdf).exists(), "no function {bdf}");
        host::bind(&bdf, Some("vfio-pci"))?;
        functions.push(bdf);
    }
    Ok(functions)
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut found = None;
    patience::until(PATIENCE, || {
        found = look();
        found.is_some()
    });
    found
}
