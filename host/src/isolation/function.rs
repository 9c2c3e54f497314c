//! What sysfs shows of a PCI function to every user.

use super::Host;
use super::NotIsolated;
use super::group::parse;
use super::switches::unread;
use crate::pci::{ConfigHeader, HiddenPart, hidden_parts};
use pvir_abi::DeviceId;
use std::fs;
use std::io;
use std::path::Path;

/// The identity of a PCI function, its driver and its IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Function {
    /// Segment and BDF on the host.
    pub address: DeviceId,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Class code: base class in bits 23:16, subclass 15:8, programming interface 7:0.
    pub class: u32,
    /// The driver that it is bound to; `None` if it has none.
    pub driver: Option<String>,
    /// The number of its IOMMU group; `None` without an IOMMU.
    pub group: Option<u32>,
}

impl Function {
    /// Whether it is a host bridge or a PCI-to-PCI bridge.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.class >> 16 == 0x06
    }
}

impl Host {
    /// The addresses of all PCI functions of the host, in ascending order.
    ///
    /// # Errors
    /// The errno of reading the directory `/sys/bus/pci/devices`.
    pub fn functions(&self) -> io::Result<Vec<DeviceId>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.path("sys/bus/pci/devices"))? {
            all.extend(entry?.file_name().to_str().and_then(parse));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Reads the identity of the function at `address`.
    ///
    /// # Errors
    /// Which file in sysfs could not be read, as a reason to refuse the device.
    pub fn function(&self, address: DeviceId) -> Result<Function, NotIsolated> {
        let folder = self.device_path(address);
        let number = |name: &str| {
            let file = folder.join(name);
            let failed = |error: io::Error| {
                unread(&file.display().to_string(), &error, "mount /sys, and let this user read it")
            };
            let text = fs::read_to_string(&file).map_err(failed)?;
            let digits = text.trim().trim_start_matches("0x");
            u32::from_str_radix(digits, 16).map_err(|error| failed(io::Error::other(error)))
        };
        // Ids have 16 bits; what has more is no id that anybody knows.
        let id = |name: &str| number(name).map(|id| u16::try_from(id).unwrap_or(u16::MAX));
        Ok(Function {
            address,
            vendor: id("vendor")?,
            device: id("device")?,
            class: number("class")?,
            driver: link_name(&folder.join("driver")),
            group: link_name(&folder.join("iommu_group")).and_then(|name| name.parse().ok()),
        })
    }
}

/// How many interrupt messages a function has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageCounts {
    /// Messages of its MSI capability, 1 to 32; 0 if it has none.
    pub msi: u32,
    /// Entries of its MSI-X table, 1 to 2048; 0 if it has none.
    pub msix: u32,
}

impl Host {
    /// The number of MSI messages and MSI-X entries of the function at `address`. `None` if this user cannot read the
    /// capabilities: without privilege only the first 64 bytes of configuration space are readable.
    #[must_use]
    pub fn messages(&self, address: DeviceId) -> Option<MessageCounts> {
        let config = fs::read(self.device_path(address).join("config")).ok()?;
        let header = ConfigHeader(config.first_chunk()?);
        Some(MessageCounts {
            msi: header.msi().map_or(0, |msi| msi.shape.messages()),
            msix: header.msix().map_or(0, |msix| msix.entries),
        })
    }

    /// What the function at `address` has and a guest would not be shown
    /// ([`PciFunction::vfio`](crate::function::PciFunction::vfio)). `None` if this user cannot read the capabilities.
    #[must_use]
    pub fn hidden_parts(&self, address: DeviceId) -> Option<Vec<HiddenPart>> {
        let config = fs::read(self.device_path(address).join("config")).ok()?;
        config.first_chunk::<256>()?;
        // The kernel has the file for a function that it can reset.
        Some(hidden_parts(&config, self.device_path(address).join("reset").exists()))
    }
}

/// The last part of what a link points to.
pub(super) fn link_name(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.file_name()?.to_str().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, id};
    use super::MessageCounts;

    #[test]
    fn functions_are_listed_in_order_and_bridges_are_recognized() {
        let fixture = Fixture::new();
        fixture.add(id(7), (0x8086, 0x29c0), 0x06_0000);
        fixture.add(id(5), (0x8086, 0x10c9), 0x02_0000);
        fixture.join(id(5), 3, Some("igb"));
        assert_eq!(fixture.host.functions().unwrap(), [id(5), id(7)]);
        let nic = fixture.host.function(id(5)).unwrap();
        assert_eq!((nic.vendor, nic.device, nic.group), (0x8086, 0x10c9, Some(3)));
        assert_eq!(nic.driver.as_deref(), Some("igb"));
        assert!(!nic.is_bridge());
        let bridge = fixture.host.function(id(7)).unwrap();
        assert!(bridge.is_bridge());
        assert_eq!((bridge.group, bridge.driver), (None, None));
    }

    #[test]
    fn messages_are_read_by_who_may() {
        let fixture = Fixture::new();
        fixture.add(id(5), (0x8086, 0x10c9), 0x02_0000);
        let mut config = [0; 256];
        config[6] = 0x10;
        config[0x34] = 0x50;
        config[0x50..0x54].copy_from_slice(&[5, 0x70, 0x86, 0]);
        config[0x70..0x74].copy_from_slice(&[0x11, 0, 9, 0]);
        let file = format!("sys/bus/pci/devices/{}/config", id(5));
        fixture.write(&file, config);
        assert_eq!(fixture.host.messages(id(5)), Some(MessageCounts { msi: 8, msix: 10 }));
        let hidden = fixture.host.hidden_parts(id(5)).unwrap();
        assert_eq!(hidden[0].to_string(), "MSI beside MSI-X (at 0x50)");
        assert_eq!(hidden.len(), 1);
        fixture.write(&file, &config[..64]);
        assert_eq!(fixture.host.hidden_parts(id(5)), None);
        assert_eq!(fixture.host.messages(id(5)), None);
    }
}
