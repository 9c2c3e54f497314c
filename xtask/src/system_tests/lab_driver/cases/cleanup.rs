//! Nothing is left on the host when a VM has ended, in order or not: its device can be used again at once.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use patience::Patience;
use rustix::process::Signal;

use super::lives;
use crate::CaseReport;
use crate::expect::same;
use crate::host;
use crate::vm::Vm;
use crate::witness::ask;

const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";
/// Takes errors that devices are to report.
const INJECT: &str = "/dev/aer_inject";
const WORDS: &str = "direct interrupts=200";
/// For a storm to begin, and for the kernel to clean up.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn used_again() -> Result<CaseReport> {
    let device = format!("vfio={}", host::device(0)?);
    for _ in 0..3 {
        Vm::start(&["--device", &device], WORDS)?.finish()?.passed()?;
        host::nothing_left()?;
    }
    Ok("three VMs one after the other, nothing left after each".to_owned().into())
}

/// Killed while interrupts come, without a chance to clean up.
pub(super) fn killed() -> Result<CaseReport> {
    let rounds = lives::rounds(1)?;
    let mut note = String::new();
    for round in 0..rounds {
        note = killed_after(500 + 37 * (round % 100))?;
        eprintln!("killed {} times", round + 1);
    }
    Ok(format!("{rounds} times, the last: {note}").into())
}

fn killed_after(interrupts: u64) -> Result<String> {
    let bdf = host::device(0)?;
    let device = format!("vfio={bdf}");
    let mut vm = Vm::start(&["--device", &device], "direct interrupts=1000000 checkpoints")?;
    for checkpoint in ["enabled", "mapped"] {
        vm.until(checkpoint)?;
        vm.resume()?;
    }
    let total =
        || -> Result<u64> { Ok(ask(&["irqs", &bdf])?.iter().filter_map(|irq| irq["count"].as_u64()).sum()) };
    let mut patience = Patience::new(PATIENCE);
    while total()? < interrupts {
        ensure!(!patience.is_over(), "no storm to kill the VM in");
    }
    let at_kill = total()?;
    vm.signal(Signal::KILL)?;
    same("exit status of a VM that was killed", &vm.finish()?.status, &None)?;
    // the kernel closes the process's files after the process is seen to have ended
    patience::until(PATIENCE, || host::nothing_left().is_ok());
    host::nothing_left()?;
    Vm::start(&["--device", &device], WORDS)?.finish()?.passed()?;
    Ok(format!("killed after {at_kill} interrupts, nothing left, the next VM runs"))
}

/// The host's administrator unbinds the device while the VM uses it. The kernel lets that wait until the device is closed.
/// The guest does not hear that it is asked for the device, which is taken, and the VM goes on without it.
pub(super) fn wanted_back() -> Result<CaseReport> {
    let bdf = host::device(0)?;
    let device = format!("vfio={bdf}");
    let arguments = ["--device", &device, "--unplug-grace", "1"];
    let mut vm = Vm::start(&arguments, "direct interrupts=1000000 checkpoints")?;
    vm.until("enabled")?;
    vm.resume()?;
    vm.until("mapped")?;
    let asked = bdf.clone();
    let unbind = thread::spawn(move || fs::write(Path::new(DRIVER).join("unbind"), asked));
    patience::until(PATIENCE, || unbind.is_finished());
    ensure!(unbind.is_finished(), "the device is not given back");
    unbind.join().map_err(|_| anyhow!("the thread that unbinds panicked"))??;
    same("driver", &host::driver(&bdf), &None)?;
    host::no_interrupt_left()?;
    let counts = vm.counts().context("the VM does not go on")?;
    same("unplugged", &counts["unplugged"], &1.into())?;
    vm.signal(Signal::TERM)?;
    let ended = vm.finish()?;
    ensure!(ended.stderr.contains(&format!("the host wants {bdf} back")), "it said:\n{}", ended.stderr);
    same("exit status", &ended.status, &Some(130))?;
    same("outcome", &ended.report["outcome"]["kind"], &"interrupted".into())?;
    host::nothing_left()?;
    fs::write(Path::new(DRIVER).join("bind"), &bdf)?;
    Vm::start(&["--device", &device], WORDS)?.finish()?.passed()?;
    Ok("unbind takes the device from the VM, which goes on; bound again, it works".to_owned().into())
}

/// The device reports an error that nobody can correct. The kernel is told to make one up.
pub(super) fn failed() -> Result<CaseReport> {
    let bdf = host::device(0)?;
    let device = format!("vfio={bdf}");
    host::load("aer_inject")?;
    let mut vm = Vm::start(&["--device", &device], "direct interrupts=1000000 checkpoints")?;
    vm.until("enabled")?;
    vm.resume()?;
    vm.until("mapped")?;
    fs::write(INJECT, completion_timeout(&bdf)?).context(INJECT)?;
    let ended = vm.finish()?;
    ensure!(ended.stderr.contains(&format!("uncorrectable error of {bdf}")), "it said:\n{}", ended.stderr);
    same("exit status", &ended.status, &Some(4))?;
    same("outcome", &ended.report["outcome"]["kind"], &"device-failed".into())?;
    host::nothing_left()?;
    Vm::start(&["--device", &device], WORDS)?.finish()?.passed()?;
    Ok("an uncorrectable error ends the VM, and the next one has the device".to_owned().into())
}

/// `struct aer_error_inj` (Linux 6.12, drivers/pci/pcie/aer_inject.c) with the bit of a completion timeout ("PCI Express
/// Base Specification, Revision 6.0", section 7.8.4.2 "Uncorrectable Error Status Register").
fn completion_timeout(bdf: &str) -> Result<Vec<u8>> {
    const COMPLETION_TIMEOUT: u32 = 1 << 14;
    let parts = bdf.split([':', '.']).map(|part| u32::from_str_radix(part, 16));
    let parts: Vec<u32> = parts.collect::<Result<_, _>>()?;
    let &[domain, bus, device, function] = parts.as_slice() else { bail!("{bdf} is no BDF") };
    let place = bus | device << 8 | function << 16;
    let (correctable, header_log) = (0, [0; 4]);
    let words = [&[place, COMPLETION_TIMEOUT, correctable], header_log.as_slice(), &[domain]].concat();
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_kernels_form() {
        let bytes = completion_timeout("0001:02:03.4").unwrap();
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[..8], [2, 3, 4, 0, 0, 0x40, 0, 0]);
        assert_eq!(bytes[28..], [1, 0, 0, 0]);
        assert!(completion_timeout("02:03.4").is_err());
    }
}
