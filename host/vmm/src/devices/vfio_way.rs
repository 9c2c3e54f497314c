//! `--vfio`: how host devices are opened.

use clap::ValueEnum;
use pvir_abi::DeviceId;
use pvir_host::isolation::Host;
use pvir_host::vfio::VfioWay;

/// The way that the user has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum WayChoice {
    /// By their own files where the kernel and this user's rights allow it for all of them, otherwise by their groups
    #[default]
    Auto,
    /// By their IOMMU groups and a container: /dev/vfio/GROUP and /dev/vfio/vfio
    Group,
    /// By their own files and an iommufd: /dev/vfio/devices/vfioN and /dev/iommu
    Cdev,
}

impl WayChoice {
    /// The way for these devices on this host.
    pub(crate) fn resolve(self, host: &Host, devices: &[DeviceId]) -> VfioWay {
        match self {
            Self::Auto => VfioWay::choose(host, devices),
            Self::Group => VfioWay::Group,
            Self::Cdev => VfioWay::Cdev,
        }
    }
}

/// What to do where the file of a way that belongs to no device cannot be opened.
pub(crate) fn remedy(way: VfioWay, denied: bool) -> &'static str {
    match (way, denied) {
        (VfioWay::Cdev, true) => "run as root, or give this user access to it and to the device's own file",
        (VfioWay::Cdev, false) => {
            "modprobe iommufd vfio-pci; the kernel needs CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (Linux 6.6)"
        }
        (_, true) => "run as root, or give this user access to it and to the group's file",
        (_, false) => "modprobe vfio_iommu_type1 vfio-pci",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_is_not_looked_for() {
        let host = Host::at(std::path::Path::new("/nowhere"));
        assert_eq!(WayChoice::Group.resolve(&host, &[]), VfioWay::Group);
        assert_eq!(WayChoice::Cdev.resolve(&host, &[]), VfioWay::Cdev);
        assert_eq!(WayChoice::Auto.resolve(&host, &[]), VfioWay::Group);
    }
}
