//! Resets of a device: by its guest, and by the host's administrator.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::CaseReport;
use crate::expect::{number, same, text};
use crate::host;
use crate::vm::{Ended, Vm};

/// Resets with pvir in the suite; one of ten is with the table trapped.
const FEW: u32 = 3;
/// Those of `lab-driver resets-long`.
const MANY: u32 = 100;

pub(super) fn few() -> Result<CaseReport> {
    by_guest(FEW)
}

pub(super) fn many() -> Result<CaseReport> {
    by_guest(MANY)
}

/// The guest resets its device by Initiate Function Level Reset.
fn by_guest(rounds: u32) -> Result<CaseReport> {
    let device = format!("vfio={}", host::device(0)?);
    let ended = Vm::start(&["--device", &device], &format!("resets rounds={rounds}"))?.finish()?;
    let checks = ended.passed()?;
    expect_ok(&ended, &["trapped", "direct"])?;
    let resets = ended.of_kind("resets").first().map(|event| number(event, "/resets"));
    same("resets", &resets, &Some(rounds.into()))?;
    host::nothing_left()?;
    Ok(format!("{rounds} resets with pvir, {} trapped; {checks} checks", rounds.div_ceil(10)).into())
}

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
