//! Lives of drivers in a Linux guest, step by step, with what each step takes on the host: by pvir's own counts and by the
//! tracepoints of the host's kernel, which count for any VMM.

mod record;

pub(crate) use record::{Record, Step};

use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::lab::{Iommu, Options};

/// Runs in L1.
pub(crate) const SCRIPT: &str = include_str!("l1.sh");
/// What a guest of this kind is started with.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off iomem=relaxed pvir.run=life";
/// Of the disk, whose content is read back.
const DISK_SIZE: u64 = 16 << 20;

/// What a guest does.
#[derive(Clone)]
pub(crate) struct Life {
    /// Drivers, `emulated` for the one of the emulated device.
    pub(crate) drivers: Vec<&'static str>,
    /// Whether the module for pvir is loaded.
    pub(crate) module: bool,
    /// Moves of interrupts, in all, by each driver.
    pub(crate) moves: u32,
    /// Pairs of mask and unmask of each interrupt.
    pub(crate) masks: u32,
    /// How often a CPU goes offline and comes back under each driver.
    pub(crate) offline: u32,
    /// How often each driver is unbound and bound.
    pub(crate) rebinds: u32,
    /// How often the module is unloaded and loaded while a driver has its interrupts.
    pub(crate) reloads: u32,
}

impl Life {
    /// Words for the guest's kernel.
    pub(crate) fn command_line(&self) -> String {
        let mut line = COMMAND_LINE.to_owned();
        let drivers = self.drivers.join(",");
        let module = if self.module { "yes" } else { "no" };
        let numbers = [
            ("moves", self.moves),
            ("masks", self.masks),
            ("offline", self.offline),
            ("rebinds", self.rebinds),
            ("reloads", self.reloads),
        ];
        // writing to a string does not fail
        let _ = write!(line, " pvir.drivers={drivers} pvir.module={module}");
        for (name, number) in numbers {
            let _ = write!(line, " pvir.{name}={number}");
        }
        line
    }
}

/// A lab with a device for each driver, and what it needs on this machine.
pub(crate) struct Bench {
    pub(crate) options: Options,
    /// Holds the disk.
    _folder: TempDir,
}

impl Bench {
    /// One CPU, and shadow paging in L1: with more, guests die of the emulator (docs/lab-notes.md).
    pub(crate) fn new(iommu: Iommu, modules: Vec<PathBuf>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let disk = folder.path().join("disk");
        File::create(&disk).and_then(|file| file.set_len(DISK_SIZE)).context("cannot make a disk")?;
        let disk = disk.to_str().context("a folder whose name is no text")?.replace(',', ",,");
        let mut qemu = Vec::new();
        for net in ["a", "b"] {
            qemu.extend(["-netdev".into(), format!("user,id={net},restrict=on").into()]);
        }
        qemu.extend(["-drive".into(), format!("if=none,id=disk,format=raw,file={disk}").into()]);
        let devices = ["igb,netdev=a", "e1000e,netdev=b", "nvme,serial=pvir,drive=disk"];
        let options = Options {
            iommu,
            cpus: 1,
            linux_guest: true,
            guest_modules: modules,
            append: "kvm_amd.npt=0".into(),
            devices: devices.map(Into::into).to_vec(),
            qemu,
            ..Options::default()
        };
        Ok(Self { options, _folder: folder })
    }

    /// What starts `pvir` there, with these arguments beside. All devices are the guest's.
    pub(crate) fn pvir(life: &Life, more: &str) -> String {
        format!(
            "set --; for device in $PVIR_DEVICES; do set -- \"$@\" --device vfio=$device; done; \
             exec pvir run --cpus 2 --memory 512M --json - --append \"{}\" \"$@\" --device emulated {more} \
             --initrd $PVIR_INITRD $PVIR_LINUX",
            life.command_line()
        )
    }
}
