//! What `pvir run --mode direct` must not start with: each is refused with status 3, by the device's name, with the reason
//! and a remedy, and without a trace on the host. Where VFIO itself works, `--mode auto` says the same and goes on trapped:
//! the guest's ENABLE is refused.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::CaseReport;
use crate::expect::same;
use crate::host;
use crate::vm::Vm;

/// Exit status: this machine does not let the run start.
const ENVIRONMENT: i32 = 3;
/// What no remedy may advise.
const WEAKENING: [&str; 6] = [
    "echo Y",
    "echo 1",
    "allow_unsafe_interrupts=",
    "set allow_unsafe_interrupts to Y",
    "pcie_acs_override=",
    "enable_unsafe_noiommu_mode=",
];

/// `pvir` with this device says all of `words`, and does not run.
pub(super) fn refused(bdf: &str, words: &[&str]) -> Result<CaseReport> {
    let bound = host::driver(bdf);
    let ended =
        Vm::start(&["--mode", "direct", "--device", &format!("vfio={bdf}")], "direct interrupts=100")?
            .finish()?;
    same("exit status", &ended.status, &Some(ENVIRONMENT)).with_context(|| ended.stderr.clone())?;
    ensure!(ended.events.is_empty() && ended.output.is_empty(), "the guest ran: {}", ended.output);
    let message = ended.stderr.trim_end();
    for word in [bdf, "help: "].iter().chain(words) {
        ensure!(message.contains(word), "the message does not say {word:?}: {message}");
    }
    // In quotes it is what the host was booted with.
    let advice = message.replace("'pcie_acs_override=", "'");
    let weak = WEAKENING.iter().find(|weak| advice.contains(**weak));
    ensure!(weak.is_none(), "the remedy weakens the host: {message}");
    same("driver afterwards", &host::driver(bdf), &bound)?;
    Ok(message.to_owned().into())
}

/// By default it starts, says the same, and the guest gets every interrupt by trapping.
fn trapped(bdf: &str, words: &[&str]) -> Result<CaseReport> {
    let ended = Vm::start(&["--device", &format!("vfio={bdf}")], "trapped refused")?.finish()?;
    let passed = ended.passed()?;
    for word in [bdf, "direct programming of its interrupts is refused", "help: "].iter().chain(words) {
        ensure!(ended.stderr.contains(word), "the warning does not say {word:?}: {}", ended.stderr);
    }
    same("refused", &ended.checks("refused"), &vec!["ok"])?;
    Ok(format!("refused by --mode direct; trapped by default, {passed} checks").into())
}

pub(super) fn no_such_device() -> Result<CaseReport> {
    refused("0000:44:00.0", &["no such PCI device"])
}

pub(super) fn no_driver() -> Result<CaseReport> {
    let device = host::device(1)?;
    host::bind(&device, None)?;
    let result = refused(&device, &["bound to no driver"]);
    host::bind(&device, Some("vfio-pci"))?;
    result
}

pub(super) fn other_driver() -> Result<CaseReport> {
    let device = host::device(2)?;
    host::bind(&device, Some("igb"))?;
    let result = refused(&device, &["bound to igb"]);
    host::bind(&device, Some("vfio-pci"))?;
    result
}

/// The last two devices of the lab are functions of one, in one group.
pub(super) fn shared_group() -> Result<CaseReport> {
    let (device, other) = (host::device(3)?, host::device(4)?);
    let shown = refused(&device, &["shares IOMMU group", &other])?;
    refused(&other, &["shares IOMMU group", &device])?;
    Ok(shown)
}

/// The administrator told VFIO to take devices whose interrupts nobody checks.
pub(super) fn unsafe_interrupts() -> Result<CaseReport> {
    unsafe_interrupts_by("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
}

/// The same by this switch.
pub(super) fn unsafe_interrupts_by(switch: &'static str) -> Result<CaseReport> {
    fs::write(switch, "Y").context(switch)?;
    let device = host::device(0)?;
    let result = refused(&device, &["direct programming is refused", switch, "echo N >"])
        .and_then(|_| trapped(&device, &[switch, "echo N >"]));
    fs::write(switch, "N").context(switch)?;
    result
}

pub(super) fn no_iommu() -> Result<CaseReport> {
    refused(&host::device(0)?, &["direct programming is refused", "no IOMMU group", "turn on the IOMMU"])
}

pub(super) fn no_remapping() -> Result<CaseReport> {
    refused(
        &host::device(0)?,
        &["direct programming is refused", "interrupt remapping is off", "turn on interrupt remapping"],
    )
}

pub(super) fn no_source_id() -> Result<CaseReport> {
    let (device, words) = (host::device(0)?, ["does not verify the source id", "remove 'intremap=nosid'"]);
    refused(&device, &[["direct programming is refused"].as_slice(), &words].concat())?;
    trapped(&device, &words)
}

pub(super) fn acs_override() -> Result<CaseReport> {
    refused(
        &host::device(0)?,
        &[
            "direct programming is refused",
            "assumed, not checked",
            "remove 'pcie_acs_override=downstream,multifunction'",
        ],
    )
}

pub(super) fn remapping_switched_off() -> Result<CaseReport> {
    refused(
        &host::device(0)?,
        &["direct programming is refused", "interrupt remapping is off", "remove 'intremap=off'"],
    )
}

/// The first device is behind the bridge; the other one shows that nothing else is wrong.
pub(super) fn behind_bridge() -> Result<CaseReport> {
    let (behind, beside) = (host::device(0)?, host::device(1)?);
    let shown =
        refused(&behind, &["direct programming is refused", "is below 0000:00:12.0", "PCI Express port"])?;
    Vm::start(&["--device", &format!("vfio={beside}")], "direct interrupts=100")?.run_out()?.passed()?;
    Ok(shown)
}
