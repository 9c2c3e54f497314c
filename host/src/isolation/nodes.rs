//! The files in `/dev` by which VFIO gives a device away.

use super::Host;
use super::function::link_name;
use pvir_abi::DeviceId;
use std::fs;
use std::path::PathBuf;

impl Host {
    /// The device's own file, `/dev/vfio/devices/vfioN`, where VFIO has one for it (Linux 6.6,
    /// Documentation/driver-api/vfio.rst, "Device cdev Example"). `None` also for a file of a device without an IOMMU
    /// (`noiommu-vfioN` in newer kernels): it would reach all of the host.
    #[must_use]
    pub fn vfio_node(&self, device: DeviceId) -> Option<PathBuf> {
        let folder = fs::read_dir(self.device_path(device).join("vfio-dev")).ok()?;
        let names = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let name = names.into_iter().find(|name| name.strip_prefix("vfio").is_some_and(is_number))?;
        Some(self.path("dev/vfio/devices").join(name))
    }

    /// The file of the device's IOMMU group, `/dev/vfio/GROUP`, whether or not it is there. `None` if it has no group.
    #[must_use]
    pub fn vfio_group_node(&self, device: DeviceId) -> Option<PathBuf> {
        let group = link_name(&self.device_path(device).join("iommu_group"))?;
        Some(self.path("dev/vfio").join(group))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, id};

    #[test]
    fn the_files_of_a_device_are_told_by_sysfs() {
        let fixture = Fixture::new();
        fixture.add(id(5), (0x8086, 0x10c9), 0x02_0000);
        assert_eq!((fixture.host.vfio_node(id(5)), fixture.host.vfio_group_node(id(5))), (None, None));
        fixture.join(id(5), 3, Some("vfio-pci"));
        fixture.write(&format!("sys/bus/pci/devices/{}/vfio-dev/vfio12/dev", id(5)), "511:12\n");
        assert!(fixture.host.vfio_node(id(5)).unwrap().ends_with("dev/vfio/devices/vfio12"));
        assert!(fixture.host.vfio_group_node(id(5)).unwrap().ends_with("dev/vfio/3"));
    }

    #[test]
    fn a_device_without_iommu_has_none() {
        let fixture = Fixture::new();
        fixture.add(id(5), (0x8086, 0x10c9), 0x02_0000);
        fixture.write(&format!("sys/bus/pci/devices/{}/vfio-dev/noiommu-vfio0/dev", id(5)), "511:0\n");
        assert_eq!(fixture.host.vfio_node(id(5)), None);
    }
}
