//! Host devices that a VMM has opened itself, in a container of its own: the program of `host/vmm/foreign-vfio`, which the lab
//! has in the payload's folder.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::CaseReport;
use crate::expect::{number, same};
use crate::host;
use crate::vm::{Ended, Vm};
use crate::witness::has_intel;

const PROGRAM: &str = "pvir-foreign-vfio";
/// Interrupts in the guest. And messages that the device writes by DMA after what it has read by DMA: not on AMD, because
/// QEMU's AMD-Vi takes a device's plain writes for the I/O APIC's (docs/shown.md).
const DIRECT: &str = "direct interrupts=300";
const WITH_DMA: &str = "ims rounds=20";
/// Exit status: this machine does not let the run start.
const ENVIRONMENT: i32 = 3;

/// The program, with the way in which it opens devices.
pub(super) fn program(way: &str) -> Result<Command> {
    let folder = env::var_os("PVIR_PAYLOAD").context("the lab has no payload")?;
    let mut program = Command::new(Path::new(&folder).join(PROGRAM));
    program.arg(way);
    Ok(program)
}

fn run(way: &str, arguments: &[&str], words: &str) -> Result<Ended> {
    Vm::start_by(program(way)?, arguments, words)?.finish()
}

/// Whatever the VMM gives to the library, the guest gets its interrupts, and the device's DMA reaches its RAM (on Intel).
pub(super) fn run_all() -> Result<CaseReport> {
    let nic = format!("vfio={}", host::device(0)?);
    let other = format!("vfio={}", host::device(1)?);
    let with_dma = if has_intel() { WITH_DMA } else { DIRECT };
    let mut said = Vec::new();
    for (way, words) in [("descriptor", with_dma), ("object", DIRECT), ("container", with_dma)] {
        let ended = run(way, &["--mode", "direct", "--device", &nic], words)?;
        let checks = ended.passed().with_context(|| way.to_owned())?;
        let maps = number(&ended.report, "/ioctls/VFIO_IOMMU_MAP_DMA");
        // Those of the library: for the container alone.
        ensure!((maps > 0) == (way == "container"), "{way}: the library has mapped RAM {maps} times");
        same("KVM's own container", &number(&ended.report, "/ioctls/KVM_CREATE_DEVICE"), &0)?;
        host::nothing_left().with_context(|| way.to_owned())?;
        said.push(format!("{way} ({checks} checks)"));
    }
    // Two devices in one container, one with MSI-X and one with MSI.
    let arguments = ["--mode", "direct", "--device", &nic, "--device", &other];
    let checks = run("descriptor", &arguments, DIRECT)?.passed().context("two devices")?;
    said.push(format!("two devices ({checks} checks)"));
    Ok(said.join(", ").into())
}

/// A device that is not at the address that the VMM says is refused: another model by its ids, a twin by the name that the
/// kernel gives to its interrupts.
pub(super) fn another() -> Result<CaseReport> {
    let (first, model, twin) = (host::device(0)?, host::device(1)?, host::device(2)?);
    let nic = format!("vfio={first}");
    for (opened, reason) in [(&model, "sysfs has 8086:10c9"), (&twin, "is not called vfio-msix[0]")] {
        let ended = run(&format!("another={opened}"), &["--mode", "direct", "--device", &nic], DIRECT)?;
        same("exit status", &ended.status, &Some(ENVIRONMENT)).with_context(|| ended.stderr.clone())?;
        for word in [first.as_str(), "the open VFIO device is another", reason] {
            ensure!(ended.stderr.contains(word), "the message does not say {word:?}: {}", ended.stderr);
        }
        host::nothing_left()?;
    }
    // Its own address, by the same program, is what it takes to be accepted.
    run(&format!("another={first}"), &["--mode", "direct", "--device", &nic], DIRECT)?.passed()?;
    Ok("another model and a twin are refused, the device itself is taken".to_owned().into())
}
