//! Host devices by their own files and an iommufd, beside those by groups. The lab has to have iommufd.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use super::{foreign, refused, several};
use crate::CaseReport;
use crate::expect::{number, same};
use crate::host;
use crate::vm::{Ended, Vm};
use crate::witness::has_intel;

/// Exit status: this machine does not let the run start.
const ENVIRONMENT: i32 = 3;
/// A driver that uses the device's DMA as the host's own, and takes any device.
const DRIVER: &str = "uio_pci_generic";
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

/// `pvir` does not start with this device in this way, and says why.
fn does_not_start(way: &str, bdf: &str, words: &[&str]) -> Result<()> {
    let arguments = ["--vfio", way, "--device", &format!("vfio={bdf}")];
    let ended = Vm::start(&arguments, DIRECT)?.finish()?;
    same("exit status", &ended.status, &Some(ENVIRONMENT)).with_context(|| ended.stderr.clone())?;
    for word in [bdf, "help: "].iter().chain(words) {
        ensure!(ended.stderr.contains(word), "{way}: the message does not say {word:?}: {}", ended.stderr);
    }
    Ok(())
}

/// A VM that has devices in a way and stands still.
fn holds(way: &str, bdf: &str, mode: &str) -> Result<Vm> {
    let arguments = ["--vfio", way, "--mode", mode, "--device", &format!("vfio={bdf}")];
    let mut vm = Vm::start(&arguments, "direct interrupts=40 checkpoints")?;
    vm.until("enabled")?;
    Ok(vm)
}

/// Who else has the device or its group, in each combination of the ways, is told; and nothing of it is left.
pub(super) fn in_use() -> Result<CaseReport> {
    let device = host::device(0)?;
    let vm = holds("group", &device, "auto")?;
    does_not_start("cdev", &device, &["used by the way of groups", "/dev/vfio/"])?;
    does_not_start("group", &device, &["cannot open /dev/vfio/", "another program has it"])?;
    vm.run_out()?.passed()?;
    host::nothing_left().context("by group")?;
    let vm = holds("cdev", &device, "auto")?;
    does_not_start("cdev", &device, &["is bound to an iommufd already"])?;
    does_not_start(
        "group",
        &device,
        &["cannot open /dev/vfio/", "another program has it, or a device of it"],
    )?;
    vm.run_out()?.passed()?;
    host::nothing_left().context("by cdev")?;
    several::run(&[device], &["--vfio", "cdev"], DIRECT)?;
    Ok("the device and its group, by both ways: each is told, and free again afterwards".to_owned().into())
}

/// The reasons of EPERM that this host can have, told apart: a driver has the group's other function; another iommufd has it.
pub(super) fn not_permitted() -> Result<CaseReport> {
    let (device, other) = (host::device(3)?, host::device(4)?);
    host::bind(&other, Some(DRIVER))?;
    let said = does_not_start("cdev", &device, &["shares IOMMU group", &other, "which is bound to", DRIVER]);
    host::bind(&other, Some("vfio-pci"))?;
    said?;
    let mut holder = foreign::program("hold")?;
    let mut holder = holder.arg(&other).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(holder.stdout.take().context("no stdout")?).read_line(&mut line)?;
    let said = does_not_start("cdev", &device, &["another iommufd has one of the group", &other]);
    drop(holder.stdin.take());
    let ended = holder.wait()?;
    ensure!(line.trim() == "bound" && ended.success(), "the holder said {line:?}: {ended}");
    said?;
    several::run(&[device, other], &["--vfio", "cdev"], DIRECT)?;
    Ok("a driver or another iommufd has the group's other function: told apart, and free afterwards"
        .to_owned()
        .into())
}

/// Whatever a VMM with an iommufd of its own gives to the library, the guest gets its interrupts.
pub(super) fn foreign() -> Result<CaseReport> {
    let mut said = Vec::new();
    let devices = [0, 1].map(host::device).into_iter().collect::<Result<Vec<_>>>()?;
    let devices: Vec<String> = devices.iter().map(|device| format!("vfio={device}")).collect();
    for way in ["cdev", "ioas"] {
        let arguments = ["--mode", "direct", "--device", &devices[0], "--device", &devices[1]];
        let ended = Vm::start_by(foreign::program(way)?, &arguments, DIRECT)?.finish()?;
        let checks = ended.passed().with_context(|| way.to_owned())?;
        // Those of the library: each device is opened twice.
        let expected = if way == "ioas" { 4 } else { 0 };
        same("BIND by the library", &ioctls(&ended, "VFIO_DEVICE_BIND_IOMMUFD"), &expected)?;
        same("RAM mapped by the library", &ioctls(&ended, "IOMMU_IOAS_MAP"), &0)?;
        host::nothing_left().with_context(|| way.to_owned())?;
        said.push(format!("{way} ({checks} checks)"));
    }
    Ok(said.join(", ").into())
}

/// iommufd's own switch, which lets devices through whose interrupts nobody checks.
pub(super) fn unsafe_interrupts() -> Result<CaseReport> {
    refused::unsafe_interrupts_by("/sys/module/iommufd/parameters/allow_unsafe_interrupts")
}

/// Without interrupt remapping.
pub(super) fn no_remapping() -> Result<CaseReport> {
    let device = host::device(0)?;
    does_not_start("cdev", &device, &["interrupt remapping is off", "turn on interrupt remapping"])?;
    refused::no_remapping()
}

/// A VM by a group and one by iommufd at once.
pub(super) fn beside_groups() -> Result<CaseReport> {
    let first = holds("group", &host::device(0)?, "direct")?;
    let second = several::run(&[host::device(2)?], &["--mode", "direct", "--vfio", "cdev"], DIRECT)?;
    let checks = second.passed()?;
    let first = first.run_out()?.passed()?;
    Ok(format!("a VM by its group ({first} checks) and one by cdev ({checks} checks) at once").into())
}
