//! A host of files, for tests.

use super::Host;
use pvir_abi::{Bdf, DeviceId};
use std::fs;
use std::os::unix::fs::symlink;

/// Its root lives as long as this.
pub(super) struct Fixture {
    root: tempfile::TempDir,
    pub(super) host: Host,
}

/// A function of bus 0.
pub(super) fn id(device: u8) -> DeviceId {
    DeviceId::new(0, Bdf::new(0, device, 0).unwrap())
}

impl Fixture {
    /// A host without devices and without switches.
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let fixture = Self { root, host };
        fixture.write("proc/cmdline", "quiet\n");
        fixture.write("proc/sys/kernel/osrelease", "6.18.10\n");
        fs::create_dir_all(fixture.root.path().join("sys/bus/pci/devices")).unwrap();
        fixture
    }

    /// Writes a file below the root.
    pub(super) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Adds a function below the host bridge.
    pub(super) fn add(&self, device: DeviceId, (vendor, product): (u16, u16), class: u32) {
        let folder = format!("sys/bus/pci/devices/{device}");
        self.write(&format!("{folder}/vendor"), format!("{vendor:#06x}\n"));
        self.write(&format!("{folder}/device"), format!("{product:#06x}\n"));
        self.write(&format!("{folder}/class"), format!("{class:#08x}\n"));
        self.write(&format!("{folder}/resource"), "");
    }

    /// Puts it into a group, below a driver, behind Intel's unit.
    pub(super) fn join(&self, device: DeviceId, group: u32, driver: Option<&str>) {
        let folder = self.host.device_path(device);
        symlink(format!("/sys/kernel/iommu_groups/{group}"), folder.join("iommu_group")).unwrap();
        symlink("/sys/devices/virtual/iommu/dmar0", folder.join("iommu")).unwrap();
        if let Some(driver) = driver {
            symlink(format!("/sys/bus/pci/drivers/{driver}"), folder.join("driver")).unwrap();
        }
        self.write(&format!("sys/kernel/iommu_groups/{group}/devices/{device}"), "");
    }

    /// What the kernel assigned: start, end (inclusive) and flags of each resource.
    pub(super) fn resources(&self, device: DeviceId, lines: &[(u64, u64, u64)]) {
        let line =
            |(start, end, flags): &(u64, u64, u64)| format!("{start:#018x} {end:#018x} {flags:#018x}\n");
        let text: String = lines.iter().map(line).collect();
        self.write(&format!("sys/bus/pci/devices/{device}/resource"), text);
    }
}
