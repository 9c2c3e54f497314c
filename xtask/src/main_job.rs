//! The main job: shows the route of real interrupts, in the best place that there is.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::lab::{self, Outcome, Streams};
use crate::programs::Programs;

const KVM: &str = "/dev/kvm";
const VFIO: &str = "vfio-pci";
/// The device that the lab passes through: it raises its interrupts when software tells it to.
const LAB_DEVICE: &str = "igb";
const LAB_DEVICE_ADDRESS: &str = "vfio=$PVIR_DEVICES";

/// Show real interrupts on their way from a device to a guest's handler.
#[derive(Args)]
pub(crate) struct Options {
    /// A PCI device of this machine that is bound to vfio-pci; without one, the nested lab supplies it
    #[arg(long, value_name = "BDF")]
    device: Option<String>,
}

/// Where the job runs.
enum Place {
    /// This machine's own KVM, IOMMU and device.
    Machine { device: String },
    /// A machine in QEMU that has all three.
    Lab,
}

/// Chooses the place and runs the job there.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    match Place::choose(options.device.as_deref())? {
        Place::Machine { device } => on_machine(&device),
        Place::Lab => in_lab(),
    }
}

impl Place {
    /// A device that was named has to do; none is guessed, for it would be taken from its owner.
    fn choose(device: Option<&str>) -> Result<Self> {
        let Some(device) = device else { return Ok(Self::Lab) };
        File::options()
            .read(true)
            .write(true)
            .open(KVM)
            .with_context(|| format!("cannot open {KVM}; help: without --device the nested lab is used"))?;
        let folder = Path::new("/sys/bus/pci/devices").join(device);
        if !folder.exists() {
            bail!("there is no PCI device {device}; help: write it as 0000:03:00.0");
        }
        if !folder.join("iommu_group").exists() {
            bail!(
                "{device} is behind no IOMMU; help: switch it on in the firmware and on the kernel's command line"
            );
        }
        let driver = fs::read_link(folder.join("driver")).ok();
        match driver.as_deref().and_then(Path::file_name) {
            Some(name) if name == VFIO => Ok(Self::Machine { device: device.to_owned() }),
            Some(name) => bail!("{device} is driven by {}; help: bind it to {VFIO}", name.to_string_lossy()),
            None => bail!("{device} has no driver; help: bind it to {VFIO}"),
        }
    }
}

fn on_machine(device: &str) -> Result<ExitCode> {
    let programs = Programs::build()?;
    let pvir = programs.on_path.first().context("there is no pvir")?;
    let mut command = Command::new(pvir);
    command.args(["run", "--stats", "--cpus", "2", "--device"]).arg(format!("vfio={device}"));
    command.env("PVIR_KERNEL", &programs.kernel);
    let status = command.status().with_context(|| format!("cannot start {}", pvir.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn in_lab() -> Result<ExitCode> {
    let options = lab::Options { devices: vec![LAB_DEVICE.into()], ..lab::Options::default() };
    let script = format!("exec pvir run --stats --cpus 2 --device {LAB_DEVICE_ADDRESS}");
    let argv: Vec<OsString> = ["sh", "-c", &script].iter().map(OsString::from).collect();
    Ok(match lab::run(&options, &argv, Streams::inherited())? {
        Outcome::Ended(status) => status.into(),
        Outcome::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX).into(),
    })
}
