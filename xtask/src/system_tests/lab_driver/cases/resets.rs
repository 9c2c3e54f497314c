//! A device that is reset by the host's administrator, and one whose memory decode goes off. Resets by the guest are among
//! [`super::lives`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::CaseReport;
use crate::expect::{same, text};
use crate::host;
use crate::vm::{Ended, Vm};

/// The host's administrator does, by sysfs.
pub(super) fn by_host() -> Result<CaseReport> {
    let bdf = host::device(0)?;
    let device = format!("vfio={bdf}");
    let mut vm = Vm::start(&["--device", &device], "resets by=host checkpoints")?;
    vm.until("live")?;
    let file = Path::new("/sys/bus/pci/devices").join(&bdf).join("reset");
    fs::write(&file, "1").with_context(|| file.display().to_string())?;
    vm.resume()?;
    let ended = vm.run_out()?;
    ended.passed()?;
    expect_ok(&ended, &["told"])?;
    ensure!(ended.stderr.contains("was reset by the host"), "it said:\n{}", ended.stderr);
    host::nothing_left()?;
    Ok("the guest is told, maps its entries again, and they work".to_owned().into())
}

/// Memory decode off and on, and asleep and awake, while another vCPU maps and unmaps.
pub(super) fn decode() -> Result<CaseReport> {
    let device = format!("vfio={}", host::device(0)?);
    let ended = Vm::start(&["--device", &device], "decode")?.finish()?;
    ended.passed()?;
    expect_ok(&ended, &["decode", "left", "finished"])?;
    host::nothing_left()?;
    let checks = ended.of_kind("check");
    let said = checks.iter().find(|check| check["name"] == "decode").context("no check of that name")?;
    Ok(text(said, "detail").to_owned().into())
}

fn expect_ok(ended: &Ended, names: &[&str]) -> Result<()> {
    names.iter().try_for_each(|name| same(name, &ended.checks(name), &vec!["ok"]))
}
