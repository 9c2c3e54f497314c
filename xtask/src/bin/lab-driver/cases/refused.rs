//! What `pvir` must not start with: each is refused with status 3, by the device's name, with the reason and a remedy,
//! and without a trace on the host.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::Shown;
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
pub(super) fn refused(bdf: &str, words: &[&str]) -> Result<Shown> {
    let bound = host::driver(bdf);
    let ended = Vm::start(&["--device", &format!("vfio={bdf}")], "direct interrupts=100")?.finish()?;
    same("exit status", &ended.status, &Some(ENVIRONMENT)).with_context(|| ended.stderr.clone())?;
    ensure!(ended.events.is_empty() && ended.output.is_empty(), "the guest ran: {}", ended.output);
    let message = ended.stderr.trim_end();
    for word in [bdf, "help: "].iter().chain(words) {
        ensure!(message.contains(word), "the message does not say {word:?}: {message}");
    }
    let weak = WEAKENING.iter().find(|weak| message.contains(**weak));
    ensure!(weak.is_none(), "the remedy weakens the host: {message}");
    same("driver afterwards", &host::driver(bdf), &bound)?;
    Ok(message.to_owned().into())
}

pub(super) fn no_such_device() -> Result<Shown> {
    refused("0000:44:00.0", &["no such PCI device"])
}

pub(super) fn no_driver() -> Result<Shown> {
    let device = host::device(1)?;
    host::bind(&device, None)?;
    let result = refused(&device, &["bound to no driver"]);
    host::bind(&device, Some("vfio-pci"))?;
    result
}

pub(super) fn other_driver() -> Result<Shown> {
    let device = host::device(2)?;
    host::bind(&device, Some("igb"))?;
    let result = refused(&device, &["bound to igb"]);
    host::bind(&device, Some("vfio-pci"))?;
    result
}

/// The last two devices of the lab are functions of one, in one group.
pub(super) fn shared_group() -> Result<Shown> {
    let (device, other) = (host::device(3)?, host::device(4)?);
    let shown = refused(&device, &["shares IOMMU group", &other])?;
    refused(&other, &["shares IOMMU group", &device])?;
    Ok(shown)
}

/// The administrator told VFIO to take devices whose interrupts nobody checks.
pub(super) fn unsafe_interrupts() -> Result<Shown> {
    const SWITCH: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    fs::write(SWITCH, "Y").context(SWITCH)?;
    let result = refused(&host::device(0)?, &["direct programming is refused", SWITCH, "echo N >"]);
    fs::write(SWITCH, "N").context(SWITCH)?;
    result
}

pub(super) fn no_iommu() -> Result<Shown> {
    refused(&host::device(0)?, &["direct programming is refused", "no IOMMU group", "turn on the IOMMU"])
}

pub(super) fn no_remapping() -> Result<Shown> {
    refused(
        &host::device(0)?,
        &["direct programming is refused", "interrupt remapping is off", "turn on interrupt remapping"],
    )
}

pub(super) fn no_source_id() -> Result<Shown> {
    refused(
        &host::device(0)?,
        &["direct programming is refused", "does not verify the source id", "remove 'intremap=nosid'"],
    )
}
