//! The two ways into VFIO.

use super::error::AttachError;
use crate::isolation::Host;
use pvir_abi::DeviceId;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

/// How a VM comes to its host devices. The kernel lets each IOMMU group be used in one way at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum VfioWay {
    /// Groups and a container: `/dev/vfio/GROUP` and `/dev/vfio/vfio`. Every kernel with VFIO has had it so far.
    Group,
    /// The device's own file and an iommufd: `/dev/vfio/devices/vfioN` and `/dev/iommu` (Linux 6.6,
    /// `CONFIG_VFIO_DEVICE_CDEV`).
    Cdev,
}

impl VfioWay {
    /// The way that is open to this user for all of `devices`: [`Cdev`](Self::Cdev) where that is, otherwise
    /// [`Group`](Self::Group). A group that is in use by one of the ways is not seen here: the other one does not have it
    /// either.
    #[must_use]
    pub fn choose(host: &Host, devices: &[DeviceId]) -> Self {
        let has_all = devices.iter().all(|device| Self::check_device(host, *device).is_ok());
        if has_all && open(&host.path("dev/iommu")).is_ok() { Self::Cdev } else { Self::Group }
    }

    /// Whether this user can open the files of the way that belong to no device: `/dev/vfio/vfio` or `/dev/iommu`.
    ///
    /// # Errors
    /// The errno of opening it.
    pub fn check_host(self, host: &Host) -> io::Result<()> {
        open(&host.path(self.file()))
    }

    /// The file of the way that belongs to no device, without the leading slash.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Group => "dev/vfio/vfio",
            Self::Cdev => "dev/iommu",
        }
    }

    /// Opens the device's own file, which takes nothing, and closes it again.
    fn check_device(host: &Host, device: DeviceId) -> Result<(), AttachError> {
        let node = host.vfio_node(device).unwrap_or_default();
        open(&node).map_err(|source| AttachError::File {
            device,
            path: format!("cannot open {}", node.display()),
            source,
        })
    }
}

impl fmt::Display for VfioWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "group",
            Self::Cdev => "cdev",
        })
    }
}

fn open(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open(path).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;
    use std::fs;

    fn id(device: u8) -> DeviceId {
        DeviceId::new(0, Bdf::new(0, device, 0).unwrap())
    }

    fn write(host: &Host, below: &str) {
        let path = host.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn the_own_file_is_taken_where_each_device_has_one_and_iommufd_is_there() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        for device in [5, 6] {
            fs::create_dir_all(host.device_path(id(device))).unwrap();
        }
        let chosen = |devices: &[DeviceId]| VfioWay::choose(&host, devices);
        fs::create_dir_all(host.device_path(id(5)).join("vfio-dev/vfio0")).unwrap();
        write(&host, "dev/vfio/devices/vfio0");
        assert_eq!(chosen(&[id(5)]), VfioWay::Group, "no iommufd");
        assert!(VfioWay::Cdev.check_host(&host).is_err());
        write(&host, "dev/iommu");
        assert_eq!(chosen(&[id(5)]), VfioWay::Cdev);
        assert!(VfioWay::Cdev.check_host(&host).is_ok());
        assert_eq!(chosen(&[id(5), id(6)]), VfioWay::Group, "one of them has no file");
        fs::create_dir_all(host.device_path(id(6)).join("vfio-dev/vfio1")).unwrap();
        assert_eq!(chosen(&[id(5), id(6)]), VfioWay::Group, "the file is not in /dev");
        write(&host, "dev/vfio/devices/vfio1");
        assert_eq!(chosen(&[id(5), id(6)]), VfioWay::Cdev);
    }

    #[test]
    fn a_device_without_iommu_is_none() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        fs::create_dir_all(host.device_path(id(5)).join("vfio-dev/noiommu-vfio0")).unwrap();
        write(&host, "dev/vfio/devices/noiommu-vfio0");
        write(&host, "dev/iommu");
        assert_eq!(VfioWay::choose(&host, &[id(5)]), VfioWay::Group);
    }
}
