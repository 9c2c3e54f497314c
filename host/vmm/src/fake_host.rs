//! A host of files, for tests of the commands that look at one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use pvir_host::isolation::Host;

/// Its root lives as long as this.
pub(crate) struct FakeHost {
    root: tempfile::TempDir,
    pub(crate) host: Host,
}

impl FakeHost {
    /// A host with Intel's unit and the drivers vfio-pci and igb, without devices.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let fake = Self { root, host };
        fake.write("proc/cmdline", "quiet\n");
        fake.write("proc/sys/kernel/osrelease", "6.18.10\n");
        fake.write("proc/interrupts", "  2: 7  IR-IO-APIC  2-edge  timer\n");
        fake.write("proc/self/mountinfo", "");
        fake.write("proc/swaps", "Filename\tType\n");
        fs::create_dir_all(fake.path("sys/bus/pci/devices")).unwrap();
        for driver in ["vfio-pci", "igb"] {
            fake.write(&format!("sys/bus/pci/drivers/{driver}/unbind"), "");
        }
        fake
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    pub(crate) fn write(&self, below: &str, text: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap()
    }

    pub(crate) fn link(&self, target: impl AsRef<Path>, below: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// Where the function's own folder is.
    pub(crate) fn folder(address: &str) -> String {
        format!("sys/devices/pci0000:00/{address}")
    }

    /// Adds an 82576 with this class, or another device by it.
    pub(crate) fn add(&self, address: &str, class: u32, driver: Option<&str>, group: Option<u32>) {
        let folder = Self::folder(address);
        self.write(&format!("{folder}/vendor"), "0x8086\n");
        self.write(&format!("{folder}/device"), "0x10c9\n");
        self.write(&format!("{folder}/class"), format!("{class:#08x}\n"));
        self.write(&format!("{folder}/resource"), "");
        self.write(&format!("{folder}/driver_override"), "(null)\n");
        let mut config = [0; 256];
        config[6] = 0x10;
        config[0x34] = 0x50;
        config[0x50..0x54].copy_from_slice(&[5, 0x70, 0x80, 0]);
        config[0x70..0x74].copy_from_slice(&[0x11, 0, 9, 0]);
        self.write(&format!("{folder}/config"), config);
        self.link(self.path(&folder), &format!("sys/bus/pci/devices/{address}"));
        if let Some(driver) = driver {
            self.link(self.path(&format!("sys/bus/pci/drivers/{driver}")), &format!("{folder}/driver"));
        }
        if let Some(group) = group {
            self.link(format!("/sys/kernel/iommu_groups/{group}"), &format!("{folder}/iommu_group"));
            self.link("/sys/devices/virtual/iommu/dmar0", &format!("{folder}/iommu"));
            self.write(&format!("sys/kernel/iommu_groups/{group}/devices/{address}"), "");
        }
    }

    /// Adds a network interface of a function.
    pub(crate) fn interface(&self, address: &str, name: &str, up: bool) {
        let folder = format!("{}/net/{name}", Self::folder(address));
        self.write(&format!("{folder}/flags"), if up { "0x1003\n" } else { "0x1002\n" });
        self.link(self.path(&folder), &format!("sys/class/net/{name}"));
    }

    /// Adds a disk of a function.
    pub(crate) fn disk(&self, address: &str, name: &str, number: &str) {
        let folder = format!("{}/nvme/nvme0/{name}", Self::folder(address));
        self.write(&format!("{folder}/dev"), format!("{number}\n"));
        self.write(&format!("{folder}/uevent"), format!("DEVNAME={name}\n"));
        fs::create_dir_all(self.path(&format!("{folder}/holders"))).unwrap();
        self.link(self.path(&folder), &format!("sys/class/block/{name}"));
    }
}
