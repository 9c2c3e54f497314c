//! Where the job runs, and why there.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::lab::setup::Setup;
use crate::lab::{self, Iommu};

const KVM: &str = "/dev/kvm";
const VFIO: &str = "vfio-pci";
const DEVICES: &str = "/sys/bus/pci/devices";
/// The lab's devices: one with MSI-X and one with MSI, which raise interrupts when software tells them to.
pub(super) const LAB_DEVICES: [&str; 2] = ["igb", "edu"];

/// What `--place` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RequestedEnvironment {
    /// The best that there is
    Auto,
    /// This machine's own KVM, IOMMU and device
    Machine,
    /// A machine in QEMU that has all three
    Lab,
    /// This machine's own KVM and pvir's emulated device
    Emulated,
}

pub(super) enum Environment {
    Machine { devices: Vec<String> },
    Lab { setup: Box<Setup>, iommu: Iommu },
    Emulated,
}

/// A place, and why it is this one.
pub(super) struct Choice {
    pub(super) place: Environment,
    pub(super) why: String,
}

impl Environment {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Machine { .. } => "machine",
            Self::Lab { .. } => "lab",
            Self::Emulated => "emulated",
        }
    }

    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Machine { .. } => "on this machine",
            Self::Lab { .. } => "in the nested lab (a machine in QEMU)",
            Self::Emulated => "on this machine, with pvir's emulated device",
        }
    }
}

/// Chooses. A device that was named has to do; none is guessed, for it would be taken from its owner.
pub(super) fn choose(requested: RequestedEnvironment, devices: &[String], iommu: Iommu) -> Result<Choice> {
    let chosen = |place, why: &str| Ok(Choice { place, why: why.to_owned() });
    match requested {
        RequestedEnvironment::Auto | RequestedEnvironment::Machine if !devices.is_empty() => {
            open_kvm().context("help: without --device the nested lab is used")?;
            let devices = devices.iter().map(|device| usable(device)).collect::<Result<_>>()?;
            chosen(Environment::Machine { devices }, "--device names what this machine has")
        }
        RequestedEnvironment::Machine => {
            bail!("no device is named; help: --device BDF names one that is bound to {VFIO}")
        }
        RequestedEnvironment::Lab | RequestedEnvironment::Emulated if !devices.is_empty() => {
            bail!(
                "--device names a device of this machine; help: use it with --place machine, or without --place"
            )
        }
        RequestedEnvironment::Emulated => {
            open_kvm()?;
            chosen(Environment::Emulated, "--place asks for it")
        }
        RequestedEnvironment::Lab => nested_lab(iommu, "--place asks for it"),
        RequestedEnvironment::Auto => match nested_lab(iommu, "no --device is named, and none is guessed") {
            Ok(choice) => Ok(choice),
            Err(error) => without_lab(&error),
        },
    }
}

fn nested_lab(iommu: Iommu, why: &str) -> Result<Choice> {
    // why a build failed is said when its result is asked for
    let (setup, _) = lab::prepare();
    let setup = Box::new(setup?);
    Ok(Choice { place: Environment::Lab { setup, iommu }, why: why.to_owned() })
}

/// The last resort: no IOMMU, but everything else is real.
fn without_lab(error: &anyhow::Error) -> Result<Choice> {
    match open_kvm() {
        Ok(()) => {
            Ok(Choice { place: Environment::Emulated, why: format!("the lab cannot be had: {error:#}") })
        }
        Err(kvm) => bail!(
            "there is no place to run\n  no device is named; help: --device BDF names one that is bound to {VFIO}\n  \
             the lab cannot be had: {error:#}; help: install qemu-system-x86 (9 or newer)\n  {kvm:#}"
        ),
    }
}

fn open_kvm() -> Result<()> {
    let opened = File::options().read(true).write(true).open(KVM);
    opened.map(drop).with_context(|| {
        format!("cannot open {KVM}; help: load kvm_intel or kvm_amd, and be root or in the group kvm")
    })
}

/// The full address of a device, if it can be passed through.
fn usable(device: &str) -> Result<String> {
    let device = if device.matches(':').count() == 1 { format!("0000:{device}") } else { device.to_owned() };
    let folder = Path::new(DEVICES).join(&device);
    if !folder.exists() {
        bail!("there is no PCI device {device}; help: write it as 0000:03:00.0; `lspci -D` lists them");
    }
    if !folder.join("iommu_group").exists() {
        bail!(
            "{device} is behind no IOMMU; help: switch it on in the firmware and on the kernel's command line"
        );
    }
    let driver = fs::read_link(folder.join("driver")).ok();
    match driver.as_deref().and_then(Path::file_name) {
        Some(name) if name == VFIO => Ok(device),
        other => {
            let driver = other.map_or("no driver".into(), |name| name.to_string_lossy());
            bail!(
                "{device} has {driver}; help: echo {VFIO} > {0}/driver_override, unbind it, and echo {device} > \
                 /sys/bus/pci/drivers_probe",
                folder.display()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_contradicts_the_devices_is_an_error_with_a_remedy() {
        let named = ["03:00.0".to_owned()];
        for (requested, devices) in [
            (RequestedEnvironment::Lab, &named[..]),
            (RequestedEnvironment::Emulated, &named),
            (RequestedEnvironment::Machine, &[]),
        ] {
            let error = choose(requested, devices, Iommu::Intel).err().unwrap();
            assert!(error.to_string().contains("help: "), "{error}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_named_in_full() {
        assert!(usable("fe:1f.7").unwrap_err().to_string().contains("no PCI device 0000:fe:1f.7"));
    }
}
