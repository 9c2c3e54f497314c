//! A device's driver and IOMMU group in sysfs, and the devices that it shares its group with.

use super::IsolationError;
use super::NotIsolated;
use super::function::link_name;
use super::switches::unread;
use super::{Host, RemappingUnit};
use pvir_abi::{DeviceId, Refusal};
use std::fs;
use std::io::ErrorKind;

/// Class code of bridges between PCI buses: they take no part in what a group's devices may do. Other bridges do, some
/// by DMA (0x0680: non-transparent ones).
const BRIDGE: &str = "0x0604";
/// Drivers that use a bridge for no DMA of its own (Linux 6.12, drivers/vfio/vfio_main.c).
const BRIDGE_DRIVERS: [&str; 3] = ["pcieport", "pci-stub", "vfio-pci"];

impl Host {
    /// Checks that the device exists and is bound to vfio-pci.
    ///
    /// # Errors
    /// [`IsolationError::NotFound`], [`IsolationError::NoGroup`] or [`IsolationError::OtherDriver`].
    pub fn check_bound(&self, device: DeviceId) -> Result<(), IsolationError> {
        let path = self.device_path(device);
        if !path.exists() {
            return Err(IsolationError::NotFound(device));
        }
        self.group(device)?;
        let driver = link_name(&path.join("driver"));
        if driver.as_deref() == Some("vfio-pci") {
            return Ok(());
        }
        Err(IsolationError::OtherDriver { device, driver })
    }

    /// The number of the device's IOMMU group.
    fn group(&self, device: DeviceId) -> Result<u32, IsolationError> {
        let name = link_name(&self.device_path(device).join("iommu_group"));
        name.and_then(|name| name.parse().ok()).ok_or(IsolationError::NoGroup(device))
    }

    /// Checks that every endpoint of the device's IOMMU group is among `assigned`.
    ///
    /// # Errors
    /// [`IsolationError::SharedGroup`] with the missing endpoints, [`IsolationError::NoGroup`], or
    /// [`IsolationError::File`] if a file in sysfs could not be read.
    pub fn check_group(&self, device: DeviceId, assigned: &[DeviceId]) -> Result<(), IsolationError> {
        let group = self.group(device)?;
        let folder = self.path(&format!("sys/kernel/iommu_groups/{group}/devices"));
        let unread = |source| IsolationError::File { device, path: folder.display().to_string(), source };
        let mut others = Vec::new();
        for member in fs::read_dir(&folder).map_err(unread)? {
            let name = member.map_err(unread)?.file_name();
            let member = name.to_str().and_then(parse);
            // Something that is no PCI device: cannot be ours.
            let Some(member) = member else {
                let what = format!(
                    "IOMMU group {group} has a member that is no PCI device: {}",
                    name.to_string_lossy()
                );
                return Err(IsolationError::Malformed { device, what });
            };
            if !assigned.contains(&member) && !self.is_idle_bridge(member) {
                others.push(member);
            }
        }
        others.sort_unstable();
        if others.is_empty() { Ok(()) } else { Err(IsolationError::SharedGroup { device, group, others }) }
    }

    /// The endpoints of the device's IOMMU group, this device included.
    ///
    /// # Errors
    /// [`IsolationError::NoGroup`], or [`IsolationError::File`] if a file in sysfs could not be read.
    pub fn group_endpoints(&self, device: DeviceId) -> Result<Vec<DeviceId>, IsolationError> {
        match self.check_group(device, &[]) {
            Ok(()) => Ok(Vec::new()),
            Err(IsolationError::SharedGroup { others, .. }) => Ok(others),
            Err(error) => Err(error),
        }
    }

    /// Why VFIO does not give the device away although nothing is wrong with it: another endpoint of its group has a driver
    /// that uses it by the host's own DMA.
    pub(crate) fn member_with_driver(&self, device: DeviceId) -> Option<IsolationError> {
        let group = self.group(device).ok()?;
        let endpoints = self.group_endpoints(device).ok()?;
        endpoints.into_iter().filter(|member| *member != device).find_map(|member| {
            let driver = link_name(&self.device_path(member).join("driver"))?;
            let is_idle = driver.ends_with("vfio-pci") || driver == "pci-stub";
            (!is_idle).then_some(IsolationError::MemberInUse { device, group, member, driver })
        })
    }

    fn is_idle_bridge(&self, device: DeviceId) -> bool {
        let path = self.device_path(device);
        let is_bridge = fs::read_to_string(path.join("class")).is_ok_and(|class| class.starts_with(BRIDGE));
        let driver = link_name(&path.join("driver"));
        is_bridge && driver.is_none_or(|driver| BRIDGE_DRIVERS.contains(&driver.as_str()))
    }

    /// Refuses groups that VFIO made up because there is no IOMMU.
    pub(super) fn validate_group_kind(&self, device: DeviceId) -> Result<(), NotIsolated> {
        let file = self.device_path(device).join("iommu_group/name");
        match fs::read_to_string(&file) {
            // Most groups have no name.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(unread(&file.display().to_string(), &error, "let this user read it"));
            }
            Ok(name) if name.trim() != "vfio-noiommu" => return Ok(()),
            Ok(_) => {}
        }
        Err(NotIsolated {
            refusal: Refusal::NO_IOMMU,
            what: format!("{device} is used in VFIO's no-IOMMU mode"),
            remedy: "turn on the IOMMU, and set enable_unsafe_noiommu_mode of the vfio module to N".into(),
        })
    }

    /// The kind of remapping unit that remaps the device's interrupts.
    ///
    /// # Errors
    /// [`IsolationError::NotIsolated`] if sysfs shows no unit of a known kind.
    pub fn unit(&self, device: DeviceId) -> Result<RemappingUnit, IsolationError> {
        let name = link_name(&self.device_path(device).join("iommu"));
        let unit = name.as_deref().and_then(RemappingUnit::by_name);
        unit.ok_or_else(|| IsolationError::NotIsolated {
            device,
            reason: NotIsolated {
                refusal: Refusal::NO_REMAPPING,
                what: format!("no known remapping unit serves it ({})", name.as_deref().unwrap_or("none")),
                remedy: "only Intel VT-d and AMD-Vi are supported".into(),
            },
        })
    }

    /// Translates an error of [`check_group`](Self::check_group) into the reason of a refused ENABLE.
    #[must_use]
    pub fn group_reason(error: &IsolationError) -> NotIsolated {
        NotIsolated {
            refusal: Refusal::SHARED_GROUP,
            what: error.to_string(),
            remedy: "give the whole group to this VM".into(),
        }
    }
}

/// `0000:01:00.0`, as sysfs writes it, and in no other spelling.
pub(super) fn parse(name: &str) -> Option<DeviceId> {
    name.parse().ok().filter(|device: &DeviceId| device.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Bdf;
    use std::os::unix::fs::symlink;

    fn id(device: u8) -> DeviceId {
        DeviceId::new(0, Bdf::new(0, device, 0).unwrap())
    }

    /// A host with a group 3: device 5 (vfio-pci), device 6 (e1000), bridge 7; and device 8 without group.
    fn host() -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let members = root.path().join("sys/kernel/iommu_groups/3/devices");
        fs::create_dir_all(&members).unwrap();
        for (device, driver, class) in
            [(5, Some("vfio-pci"), "0x020000"), (6, Some("e1000"), "0x020000"), (7, None, "0x060400")]
        {
            let path = host.device_path(id(device));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("class"), class).unwrap();
            symlink("/sys/kernel/iommu_groups/3", path.join("iommu_group")).unwrap();
            symlink("/sys/devices/virtual/iommu/dmar0", path.join("iommu")).unwrap();
            if let Some(driver) = driver {
                symlink(format!("/sys/bus/pci/drivers/{driver}"), path.join("driver")).unwrap();
            }
            fs::write(members.join(id(device).to_string()), "").unwrap();
        }
        fs::create_dir_all(host.device_path(id(8))).unwrap();
        (root, host)
    }

    #[test]
    fn a_device_that_vfio_has_is_taken() {
        let (_root, host) = host();
        host.check_bound(id(5)).unwrap();
        assert_eq!(host.unit(id(5)).unwrap(), RemappingUnit::Intel);
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let (_root, host) = host();
        let say = |device| host.check_bound(device).unwrap_err().to_string();
        assert!(say(id(9)).starts_with("0000:00:09.0: no such PCI device; help: "));
        assert!(say(id(8)).starts_with("0000:00:08.0: has no IOMMU group"));
        assert!(say(id(6)).starts_with("0000:00:06.0: is bound to e1000, not to vfio-pci"));
        assert!(say(id(7)).contains("is bound to no driver"));
    }

    #[test]
    fn a_shared_group_is_refused_unless_all_of_it_is_assigned() {
        let (_root, host) = host();
        let error = host.check_group(id(5), &[id(5)]).unwrap_err();
        assert!(error.to_string().contains("shares IOMMU group 3 with 0000:00:06.0:"), "{error}");
        host.check_group(id(5), &[id(5), id(6)]).unwrap();
        fs::write(host.device_path(id(7)).join("class"), "0x068000").unwrap();
        let error = host.check_group(id(5), &[id(5), id(6)]).unwrap_err();
        assert!(error.to_string().contains("with 0000:00:07.0:"), "a non-transparent bridge: {error}");
        fs::write(host.device_path(id(7)).join("class"), "0x060400").unwrap();
        symlink("/sys/bus/pci/drivers/pcieport", host.device_path(id(7)).join("driver")).unwrap();
        host.check_group(id(5), &[id(5), id(6)]).unwrap();
        fs::remove_file(host.device_path(id(7)).join("driver")).unwrap();
        symlink("/sys/bus/pci/drivers/other", host.device_path(id(7)).join("driver")).unwrap();
        assert!(host.check_group(id(5), &[id(5), id(6)]).is_err(), "a bridge whose driver may use DMA");
        assert_eq!(Host::group_reason(&error).refusal, Refusal::SHARED_GROUP);
    }

    #[test]
    fn a_member_with_a_driver_of_the_host_is_found() {
        let (_root, host) = host();
        let error = host.member_with_driver(id(5)).unwrap().to_string();
        assert!(
            error.starts_with(
                "0000:00:05.0: shares IOMMU group 3 with 0000:00:06.0, which is bound to e1000:"
            ),
            "{error}"
        );
        assert!(host.member_with_driver(id(6)).is_none(), "vfio-pci has the other one");
        let link = host.device_path(id(6)).join("driver");
        for idle in ["pci-stub", "mlx5-vfio-pci"] {
            fs::remove_file(&link).unwrap();
            symlink(format!("/sys/bus/pci/drivers/{idle}"), &link).unwrap();
            assert!(host.member_with_driver(id(5)).is_none(), "{idle}");
        }
    }

    #[test]
    fn a_group_without_iommu_or_without_answer_is_refused() {
        let (root, host) = host();
        // The links of `host` lead out of its root: a folder in their place.
        let folder = host.device_path(id(8)).join("iommu_group");
        fs::create_dir(&folder).unwrap();
        assert!(host.validate_group_kind(id(8)).is_ok());
        fs::write(folder.join("name"), "vfio-noiommu\n").unwrap();
        assert_eq!(host.validate_group_kind(id(8)).unwrap_err().refusal, Refusal::NO_IOMMU);
        fs::remove_file(folder.join("name")).unwrap();
        fs::create_dir(folder.join("name")).unwrap();
        assert_eq!(host.validate_group_kind(id(8)).unwrap_err().refusal, Refusal::POLICY);
        drop(root);
    }

    #[test]
    fn a_group_with_a_stranger_is_given_to_nobody() {
        let (root, host) = host();
        fs::write(root.path().join("sys/kernel/iommu_groups/3/devices/serial0"), "").unwrap();
        let error = host.check_group(id(5), &[id(5), id(6)]).unwrap_err();
        assert!(matches!(error, IsolationError::Malformed { .. }), "{error:?}");
        assert!(error.to_string().contains("serial0"), "{error}");
        assert!(matches!(host.group_endpoints(id(5)), Err(IsolationError::Malformed { .. })));
    }

    #[test]
    fn a_group_is_listed_with_its_endpoints_or_not_at_all() {
        let (root, host) = host();
        assert_eq!(host.group_endpoints(id(5)).unwrap(), [id(5), id(6)]);
        let members = root.path().join("sys/kernel/iommu_groups/3/devices");
        [5, 6].into_iter().for_each(|device| fs::remove_file(members.join(id(device).to_string())).unwrap());
        assert_eq!(host.group_endpoints(id(7)).unwrap(), [], "a bridge alone");
        fs::remove_dir_all(members).unwrap();
        for error in [host.group_endpoints(id(5)).unwrap_err(), host.check_group(id(5), &[]).unwrap_err()] {
            assert!(matches!(error, IsolationError::File { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_device_that_nothing_known_remaps_is_refused() {
        let (_root, host) = host();
        let refusal = || match host.unit(id(5)).unwrap_err() {
            IsolationError::NotIsolated { reason, .. } => (reason.refusal, reason.what),
            other => panic!("{other:?}"),
        };
        let link = host.device_path(id(5)).join("iommu");
        fs::remove_file(&link).unwrap();
        assert_eq!(refusal(), (Refusal::NO_REMAPPING, "no known remapping unit serves it (none)".to_owned()));
        symlink("/sys/devices/virtual/iommu/smmu3", &link).unwrap();
        assert_eq!(
            refusal(),
            (Refusal::NO_REMAPPING, "no known remapping unit serves it (smmu3)".to_owned())
        );
    }

    #[test]
    fn names_of_sysfs_are_parsed() {
        assert_eq!(parse("0001:ab:1f.7"), Some(DeviceId::new(1, Bdf(0xabff))));
        for bad in ["", "0000:00:05", "0000:00:20.0", "0000:00:05.8", "serial0", "0000:000:05.0"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
