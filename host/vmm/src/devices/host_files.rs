//! The files of a host device that is plugged: the client opens them, because the VM opens none while its guest runs
//! (`docs/sandbox.md`).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use pvir_abi::DeviceId;
use pvir_host::isolation::Host;
use pvir_host::vfio::VfioWay;

use super::host_devices::with_remedy;
use super::vfio_way;

/// The files of a host device.
#[derive(Debug)]
pub(crate) struct HostFiles {
    pub(crate) way: VfioWay,
    /// The file of the device's IOMMU group, or the device's own.
    pub(crate) device: OwnedFd,
    /// A new container or a new iommufd, for a VM that has none.
    pub(crate) domain: OwnedFd,
}

impl HostFiles {
    /// Opens the files of the device at `address`.
    ///
    /// # Errors
    /// The file that cannot be opened, with its errno.
    pub(crate) fn open(way: VfioWay, address: DeviceId) -> Result<Self> {
        let host = Host::default();
        // It says more than a file that is not there.
        host.check_bound(address).map_err(with_remedy)?;
        let node = match way {
            VfioWay::Cdev => host.vfio_node(address).with_context(|| {
                format!(
                    "{address} has no file of its own below {}\nhelp: `pvir bind {address}` says what gives it to \
                     vfio-pci; a kernel before Linux 6.6 has the way by groups only (--vfio group)",
                    host.device_path(address).join("vfio-dev").display()
                )
            }),
            _ => host.vfio_group_node(address).with_context(|| {
                format!("{address} has no IOMMU group, or is not there\nhelp: `pvir devices` shows what is")
            }),
        }?;
        let device = open(&node).map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::ResourceBusy => "another program has it, or a device of its group: end that",
                io::ErrorKind::PermissionDenied => "run as root, or give this user access to the file",
                _ => "`pvir bind` says what gives a device to vfio-pci, and does it with --yes",
            };
            anyhow!("{address}: cannot open {}: {error}\nhelp: {help}", node.display())
        })?;
        let domain = host.path(way.file());
        let domain = open(&domain).map_err(|error| {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            anyhow!("cannot open {}: {error}\nhelp: {}", domain.display(), vfio_way::remedy(way, denied))
        })?;
        Ok(Self { way, device, domain })
    }

    /// As a request brings them.
    ///
    /// # Errors
    /// If it has brought others.
    pub(crate) fn received(way: &str, files: Vec<OwnedFd>) -> Result<Self> {
        let way = match way {
            "group" => VfioWay::Group,
            "cdev" => VfioWay::Cdev,
            word => bail!("{word:?} is no way to a host device; there are `group` and `cdev`"),
        };
        let [device, domain] = <[OwnedFd; 2]>::try_from(files).map_err(|files| {
            anyhow!("{} files came with the request, not 2; help: `pvir plug`", files.len())
        })?;
        Ok(Self { way, device, domain })
    }

    /// In the order in which a request brings them.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.device.as_fd(), self.domain.as_fd()]
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    OpenOptions::new().read(true).write(true).open(path).map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_brings_two_files_and_names_their_way() {
        let files =
            |count| (0..count).map(|_| OwnedFd::from(tempfile::tempfile().unwrap())).collect::<Vec<_>>();
        assert_eq!(HostFiles::received("cdev", files(2)).unwrap().way, VfioWay::Cdev);
        assert_eq!(HostFiles::received("group", files(2)).unwrap().way, VfioWay::Group);
        let refused = |way, count| HostFiles::received(way, files(count)).unwrap_err().to_string();
        assert!(refused("group", 1).starts_with("1 files came"), "{}", refused("group", 1));
        assert!(refused("auto", 2).contains("is no way"), "{}", refused("auto", 2));
    }

    #[test]
    fn a_device_that_is_not_there_has_no_files() {
        let address = "ffff:ff:1f.7".parse().unwrap();
        for way in [VfioWay::Group, VfioWay::Cdev] {
            let error = HostFiles::open(way, address).unwrap_err().to_string();
            assert!(error.contains("ffff:ff:1f.7") && error.contains("no such PCI device"), "{error}");
        }
    }
}
