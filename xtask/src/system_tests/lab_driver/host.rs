//! The machine around the VMs: its devices, its interrupts, its log.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A folder for each VM.
const VMS: &str = "/sys/kernel/debug/kvm";

/// The devices of the lab, in the order in which they were asked for.
pub(crate) fn device(position: usize) -> Result<String> {
    let all = env::var("PVIR_DEVICES").unwrap_or_default();
    let device = all.split_whitespace().nth(position);
    device.map(str::to_owned).with_context(|| format!("the lab has no device {position}"))
}

/// How many there are.
pub(crate) fn devices() -> usize {
    env::var("PVIR_DEVICES").unwrap_or_default().split_whitespace().count()
}

/// Fails if VFIO still holds an interrupt, or a VM still runs.
pub(crate) fn nothing_left() -> Result<()> {
    no_interrupt_left()?;
    // The lab has it always; another machine may not show it.
    if env::var_os("PVIR_DEVICES").is_none() && !Path::new(VMS).exists() {
        return Ok(());
    }
    let vms = fs::read_dir(VMS)?.flatten().filter(|entry| entry.path().is_dir()).count();
    ensure!(vms == 0, "{vms} VMs are left on the host");
    Ok(())
}

/// No interrupt of VFIO is left on the host, whatever VMs run.
pub(crate) fn no_interrupt_left() -> Result<()> {
    let table = fs::read_to_string("/proc/interrupts")?;
    let left: Vec<&str> = table.lines().filter(|line| line.contains("vfio")).collect();
    ensure!(left.is_empty(), "interrupts are left on the host:\n{}", left.join("\n"));
    Ok(())
}

/// The folder of a PCI function.
pub(crate) fn folder(bdf: &str) -> PathBuf {
    Path::new("/sys/bus/pci/devices").join(bdf)
}

/// The driver that a function is bound to.
pub(crate) fn driver(bdf: &str) -> Option<String> {
    let link = fs::read_link(folder(bdf).join("driver")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// Loads a module that the lab has.
pub(crate) fn load(module: &str) -> Result<()> {
    let status = Command::new("modprobe").arg(module).status().context("cannot start modprobe")?;
    ensure!(status.success(), "modprobe {module}: {status}");
    Ok(())
}

/// Sets a network interface up or down.
pub(crate) fn set_up(interface: &str, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    let status =
        Command::new("ip").args(["link", "set", interface, state]).status().context("cannot start ip")?;
    ensure!(status.success(), "ip link set {interface} {state}: {status}");
    Ok(())
}

/// Takes a function from its driver, and gives it to another, or to none.
pub(crate) fn bind(bdf: &str, to: Option<&str>) -> Result<()> {
    let folder = folder(bdf);
    if folder.join("driver").exists() {
        fs::write(folder.join("driver/unbind"), bdf).context("unbind")?;
    }
    fs::write(folder.join("driver_override"), to.unwrap_or("none")).context("driver_override")?;
    if let Some(name) = to {
        let _ = Command::new("modprobe").arg(name).status();
        fs::write("/sys/bus/pci/drivers_probe", bdf).context("drivers_probe")?;
    }
    ensure!(driver(bdf).as_deref() == to, "{bdf} is bound to {:?}, not to {to:?}", driver(bdf));
    Ok(())
}
