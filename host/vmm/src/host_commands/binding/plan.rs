//! What is written where to move a device between drivers, and how it is undone.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use pvir_abi::DeviceId;
use pvir_host::isolation::Host;

use super::usage;

const VFIO: &str = "vfio-pci";
/// In place of a driver's name where there is none.
const NONE: &str = "none";
/// Where the drivers are remembered that devices had; it goes with the next boot, as the bindings do.
const REMEMBERED: &str = "run/pvir/former-drivers";

/// The files by which a driver is bound and unbound: those of sysfs, and that of former drivers.
pub(super) trait DriverFiles {
    /// Writes a whole file.
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()>;
}

/// The files of the running kernel.
pub(super) struct Sysfs;

impl DriverFiles for Sysfs {
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        fs::write(path, text)
    }
}

/// A write to one of these files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Write {
    path: PathBuf,
    text: String,
}

/// Whether the former driver of a device is to be remembered or forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FormerDriver {
    Keep(String),
    Drop,
}

/// All that binding or unbinding one device writes.
#[derive(Debug)]
pub(super) struct BindingPlan {
    device: DeviceId,
    /// The driver at its end, or [`NONE`].
    wanted: String,
    before: FormerDriver,
    writes: Vec<Write>,
    /// If one of them fails.
    undo: Vec<Write>,
}

impl BindingPlan {
    /// From its driver to vfio-pci.
    pub(super) fn bind(host: &Host, device: DeviceId) -> Result<Self> {
        let function =
            host.function(device).map_err(|reason| anyhow!("{device}: no such PCI device: {reason}"))?;
        if function.driver.as_deref() == Some(VFIO) {
            return Ok(Self::nothing(device, VFIO));
        }
        if function.group.is_none() {
            bail!(
                "{device} has no IOMMU group, so nothing would keep it from the rest of the host\n\
                 help: turn on the IOMMU (VT-d or AMD-Vi) in the firmware, and boot Intel hosts with intel_iommu=on"
            );
        }
        usage::of(host, device)?;
        if !host.path("sys/bus/pci/drivers").join(VFIO).exists() {
            bail!("the driver {VFIO} is not there\nhelp: modprobe {VFIO}");
        }
        let files = Files::of(host, device);
        let former = function.driver.as_deref();
        let overridden = files.overridden()?;
        let mut writes = vec![files.set_override(VFIO)];
        writes.extend(former.map(|_| files.release()));
        writes.push(files.probe());
        let mut undo = vec![files.set_override(&overridden)];
        undo.extend(former.map(|_| files.probe()));
        let before = FormerDriver::Keep(format!("{} {overridden}\n", former.unwrap_or(NONE)));
        Ok(Self { device, wanted: VFIO.into(), before, writes, undo })
    }

    /// From vfio-pci to the driver that it had before, as [`bind`](Self::bind) remembered it; otherwise to whichever the
    /// kernel chooses.
    pub(super) fn unbind(host: &Host, device: DeviceId) -> Result<Self> {
        let function =
            host.function(device).map_err(|reason| anyhow!("{device}: no such PCI device: {reason}"))?;
        let bound = function.driver.as_deref();
        if bound != Some(VFIO) {
            bail!("{device} is bound to {}, not to {VFIO}: it is left alone", bound.unwrap_or("no driver"));
        }
        usage::of(host, device)?;
        let files = Files::of(host, device);
        let remembered = fs::read_to_string(remembered(host, device)).unwrap_or_default();
        let mut words = remembered.split_whitespace();
        let (former, overridden) = (words.next(), words.next().unwrap_or_default());
        let mut writes =
            vec![files.set_override(former.filter(|driver| *driver != NONE).unwrap_or_default())];
        writes.push(files.release());
        if former != Some(NONE) {
            writes.push(files.probe());
        }
        if former.is_some() {
            writes.push(files.set_override(overridden));
        }
        let undo = vec![files.set_override(VFIO), files.probe()];
        let wanted = former.unwrap_or("the driver that the kernel chooses").to_owned();
        Ok(Self { device, wanted, before: FormerDriver::Drop, writes, undo })
    }

    fn nothing(device: DeviceId, wanted: &str) -> Self {
        Self {
            device,
            wanted: wanted.into(),
            before: FormerDriver::Drop,
            writes: Vec::new(),
            undo: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(super) fn device(&self) -> DeviceId {
        self.device
    }

    pub(super) fn wanted(&self) -> &str {
        &self.wanted
    }

    /// Does it; what fails half-way is undone.
    pub(super) fn carry_out(&self, host: &Host, files: &mut impl DriverFiles) -> Result<()> {
        if let FormerDriver::Keep(text) = &self.before {
            let file = remembered(host, self.device);
            let folder = file.parent().context("no folder")?;
            fs::create_dir_all(folder)
                .with_context(|| format!("{}: cannot make {}", self.device, folder.display()))?;
            fs::write(&file, text)
                .with_context(|| format!("{}: cannot write {}", self.device, file.display()))?;
        }
        let done = self.write(&self.writes, files).and_then(|()| self.check(host));
        if let Err(error) = done {
            // The first failure is the one to tell of; what is left is told too.
            return match self.write(&self.undo, files) {
                Ok(()) => Err(error.context("undone")),
                Err(undo) => Err(error.context(format!("not undone either: {undo:#}"))),
            };
        }
        if self.before == FormerDriver::Drop {
            // Nothing may be remembered.
            let _ = fs::remove_file(remembered(host, self.device));
        }
        Ok(())
    }

    fn write(&self, writes: &[Write], files: &mut impl DriverFiles) -> Result<()> {
        for Write { path, text } in writes {
            files.write(path, text).with_context(|| {
                format!("{}: cannot write {:?} to {}", self.device, text.trim_end(), path.display())
            })?;
        }
        Ok(())
    }

    /// The kernel does not tell of a driver that will not have a device.
    fn check(&self, host: &Host) -> Result<()> {
        let driver = host.function(self.device).ok().and_then(|function| function.driver);
        let driver = driver.as_deref().unwrap_or(NONE);
        let fits = match self.wanted.as_str() {
            wanted if wanted == driver => true,
            // The kernel chose.
            wanted => wanted.contains(' ') && driver != VFIO,
        };
        if fits {
            return Ok(());
        }
        bail!(
            "{}: is with {driver} afterwards, not with {}\nhelp: the kernel's log says why (dmesg)",
            self.device,
            self.wanted
        )
    }
}

impl fmt::Display for BindingPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "{}: is with {} already", self.device, self.wanted);
        }
        write!(f, "{}: to {}", self.device, self.wanted)?;
        if let FormerDriver::Keep(text) = &self.before {
            write!(f, "\n    write {:?} to /{REMEMBERED}/{}", text.trim_end(), self.device)?;
        }
        for Write { path, text } in &self.writes {
            write!(f, "\n    write {:?} to {}", text.trim_end(), path.display())?;
        }
        Ok(())
    }
}

fn remembered(host: &Host, device: DeviceId) -> PathBuf {
    host.path(REMEMBERED).join(device.to_string())
}

/// The files of sysfs that move a device.
struct Files<'a> {
    host: &'a Host,
    device: DeviceId,
}

impl<'a> Files<'a> {
    fn of(host: &'a Host, device: DeviceId) -> Self {
        Self { host, device }
    }

    /// The override in force; empty for none.
    fn overridden(&self) -> Result<String> {
        let file = self.host.device_path(self.device).join("driver_override");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim().replace("(null)", ""))
    }

    fn set_override(&self, driver: &str) -> Write {
        let path = self.host.device_path(self.device).join("driver_override");
        // An empty line takes the override away.
        Write { path, text: format!("{driver}\n") }
    }

    fn release(&self) -> Write {
        Write {
            path: self.host.device_path(self.device).join("driver/unbind"),
            text: self.device.to_string(),
        }
    }

    fn probe(&self) -> Write {
        Write { path: self.host.path("sys/bus/pci/drivers_probe"), text: self.device.to_string() }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
