//! Bridges above a device that replace the device's requester id by their own.
//!
//! Linux then lets the remapping unit verify no more than the bus number (Linux 6.12,
//! drivers/iommu/intel/irq_remapping.c, `set_msi_sid`). Any other device on that bus could raise the guest's
//! interrupts, and the guest could raise theirs.

use super::Host;
use super::NotIsolated;
use super::group::parse;
use super::switches::unread;
use crate::pci::ConfigHeader;
use pvir_abi::{DeviceId, Refusal};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Port types that hand requester ids on as they are: root port, upstream and downstream port of a switch (PCI Express
/// Base Specification 6.0, section 7.5.3.2 "PCI Express Capabilities Register").
const PORTS: [u8; 3] = [4, 5, 6];
/// A file that sysfs has for devices with a PCI Express capability only, and that every user can read.
const IS_EXPRESS: &str = "max_link_speed";

impl Host {
    /// Refuses a device below anything but PCI Express ports.
    pub(super) fn validate_requester(&self, device: DeviceId) -> Result<(), NotIsolated> {
        let link = self.device_path(device);
        let unread = |error: io::Error| {
            unread(&format!("the bridges above {device}"), &error, "mount /sys, and let this user read it")
        };
        let place = fs::canonicalize(&link).map_err(unread)?;
        for above in place.ancestors().skip(1) {
            let bridge = above.file_name().unwrap_or_default().to_string_lossy();
            // What is no function at all: the host bridge (`pci0000:00`), and the folders above it. A name that is meant for
            // an address counts, whether it is one of the contract or not.
            if parse(&bridge).is_none() && !(bridge.contains(':') && bridge.contains('.')) {
                continue;
            }
            if !hands_on(above, &place).map_err(unread)? {
                return Err(NotIsolated {
                    refusal: Refusal::ALIASED_REQUESTER,
                    what: format!(
                        "{device} is below {bridge}, which is not known for a PCI Express port and may send the \
                         device's messages under another requester id"
                    ),
                    remedy: "move the device to a slot of a PCI Express port".into(),
                });
            }
        }
        Ok(())
    }
}

/// Whether a bridge leaves the requester ids of what is below it alone.
fn hands_on(bridge: &Path, device: &Path) -> io::Result<bool> {
    let mut config = Vec::new();
    File::open(bridge.join("config"))?.take(256).read_to_end(&mut config)?;
    Ok(match <[u8; 256]>::try_from(config) {
        Ok(config) => ConfigHeader(&config).port_type().is_some_and(|kind| PORTS.contains(&kind)),
        // Whoever is not root sees the first 64 bytes: then all of the way must be PCI Express.
        Err(_) => [bridge, device].iter().all(|function| function.join(IS_EXPRESS).exists()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    const BRIDGE: &str = "sys/devices/pci0000:00/0000:00:02.0";

    /// A device 01:00.0 below a bridge with this config space.
    fn host(config: &[u8]) -> (tempfile::TempDir, Host, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let place = root.path().join(BRIDGE).join("0000:01:00.0");
        fs::create_dir_all(&place).unwrap();
        fs::write(root.path().join(BRIDGE).join("config"), config).unwrap();
        fs::create_dir_all(root.path().join("sys/bus/pci/devices")).unwrap();
        symlink(&place, host.device_path(id())).unwrap();
        (root, host, place)
    }

    fn id() -> DeviceId {
        DeviceId::new(0, Bdf::new(1, 0, 0).unwrap())
    }

    fn bridge(port_type: Option<u8>) -> [u8; 256] {
        let mut config = [0; 256];
        config[6] = 0x10;
        config[0x34] = 0x40;
        config[0x40..0x44].copy_from_slice(&match port_type {
            Some(kind) => [0x10, 0, kind << 4 | 2, 0],
            None => [1, 0, 0, 0],
        });
        config
    }

    fn refusal(config: &[u8]) -> Option<Refusal> {
        host(config).1.validate_requester(id()).err().map(|reason| reason.refusal)
    }

    #[test]
    fn ports_are_let_pass_and_nothing_else_is() {
        for kind in [4, 5, 6] {
            assert_eq!(refusal(&bridge(Some(kind))), None, "{kind}");
        }
        // Endpoints (some hide a bus behind them), bridges to and from conventional PCI, conventional bridges.
        for kind in [Some(0), Some(7), Some(8), Some(9), None] {
            assert_eq!(refusal(&bridge(kind)), Some(Refusal::ALIASED_REQUESTER), "{kind:?}");
        }
    }

    #[test]
    fn a_bridge_of_a_segment_beyond_the_contracts_counts() {
        let (root, host, _) = host(&bridge(Some(4)));
        let above = root.path().join("sys/devices/pci10000:e0/10000:e0:06.0");
        let place = above.join("0000:01:00.0");
        fs::create_dir_all(&place).unwrap();
        fs::remove_file(host.device_path(id())).unwrap();
        symlink(&place, host.device_path(id())).unwrap();
        let refused = |kind| {
            fs::write(above.join("config"), bridge(kind)).unwrap();
            host.validate_requester(id()).err().map(|reason| reason.refusal)
        };
        assert_eq!(refused(None), Some(Refusal::ALIASED_REQUESTER));
        assert_eq!(refused(Some(4)), None);
    }

    #[test]
    fn an_ordinary_user_is_told_by_the_links() {
        let (root, host, place) = host(&bridge(Some(4))[..64]);
        let refused = |host: &Host| host.validate_requester(id()).is_err();
        assert!(refused(&host));
        fs::write(place.join(IS_EXPRESS), "2.5 GT/s PCIe\n").unwrap();
        assert!(refused(&host), "the bridge may be a conventional one");
        fs::write(root.path().join(BRIDGE).join(IS_EXPRESS), "2.5 GT/s PCIe\n").unwrap();
        assert!(!refused(&host));
    }

    #[test]
    fn a_way_that_cannot_be_seen_is_refused() {
        let (root, host, _) = host(&[]);
        fs::remove_file(root.path().join(BRIDGE).join("config")).unwrap();
        assert_eq!(host.validate_requester(id()).unwrap_err().refusal, Refusal::POLICY);
        assert_eq!(
            Host::at(Path::new("/nowhere")).validate_requester(id()).unwrap_err().refusal,
            Refusal::POLICY
        );
    }
}
