//! The units that remap interrupts, and the format of the address/data pairs that they hand out.

use super::Host;
use pvir_abi::Pair;
use std::fs;

/// The kind of remapping unit between a device and the host's CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RemappingUnit {
    /// Intel VT-d.
    Intel,
    /// AMD-Vi.
    Amd,
}

/// Destination mode, in the address of a message.
const AMD_DM: u64 = 1 << 2;

impl RemappingUnit {
    /// The kind of the unit that `/sys/class/iommu` names `name`, for example `dmar0` or `ivhd0`.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "dmar" => Some(Self::Intel),
            "ivhd" => Some(Self::Amd),
            _ => None,
        }
    }

    /// Validates that `pair` has the format that this unit's Linux driver writes.
    ///
    /// Intel: the remappable format, because another pair would be taken for a plain message (Intel VT-d
    /// Specification, Rev. 5.10, section 5.1.2.2). AMD has no mark of that kind. Linux writes address 0xfee00000 and,
    /// as data, an index below 2048 into the device's own table (AMD 48882 Rev 3.11, section 2.2.5; Linux 6.12,
    /// drivers/iommu/amd/iommu.c). Newer kernels set bit 2 of the address, DM, where the unit has tables of 2,048
    /// entries for a device: there DM must be set, and the IRTE alone says what the destination mode is.
    ///
    /// # Errors
    /// Why it is refused, as a phrase for a log message.
    pub fn validate(self, pair: Pair) -> Result<(), String> {
        let right = match self {
            Self::Intel => pair.intel_index().is_some(),
            Self::Amd => pair.address & !AMD_DM == 0xfee0_0000 && pair.data < 2048,
        };
        if right { Ok(()) } else { Err(format!("{pair} is not in the form of {self:?} interrupt remapping")) }
    }
}

/// The remapping units of a host, as far as an unprivileged user can see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Units {
    /// Their names in `/sys/class/iommu`, for example `dmar0` or `ivhd0`.
    pub names: Vec<String>,
    /// Whether the kernel has switched interrupt remapping on; `None` where this cannot be determined.
    pub remapping: Option<bool>,
}

impl Host {
    /// The units that the kernel uses. Whether the unit of one device isolates it is checked by VFIO when the device
    /// is opened.
    #[must_use]
    pub fn units(&self) -> Units {
        let folder = fs::read_dir(self.path("sys/class/iommu"));
        let mut names: Vec<String> = folder
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|unit| unit.file_name().into_string().ok())
            .filter(|name| RemappingUnit::by_name(name).is_some())
            .collect();
        names.sort_unstable();
        // Linux puts this before the names of interrupt controllers behind which a unit remaps, on Intel and on AMD.
        let table = fs::read_to_string(self.path("proc/interrupts")).ok();
        let has_any =
            |text: &String| text.lines().any(|line| line.contains("IO-APIC") || line.contains("PCI-MSI"));
        let remapping = table.filter(has_any).map(|text| text.contains(" IR-"));
        Units { names, remapping }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_known_by_their_names() {
        assert_eq!(RemappingUnit::by_name("dmar12"), Some(RemappingUnit::Intel));
        assert_eq!(RemappingUnit::by_name("ivhd0"), Some(RemappingUnit::Amd));
        assert_eq!(RemappingUnit::by_name("smmu3.0x1"), None);
    }

    #[test]
    fn the_kernel_tells_whether_it_remaps() {
        let units = |interrupts: &str| {
            let fixture = super::super::fixture::Fixture::new();
            fixture.write("sys/class/iommu/dmar1/x", "");
            fixture.write("sys/class/iommu/dmar0/x", "");
            fixture.write("sys/class/iommu/other/x", "");
            fixture.write("proc/interrupts", interrupts);
            fixture.host.units()
        };
        let on = units("  CPU0\n  2: 7  IR-IO-APIC  2-edge  timer\n");
        assert_eq!(on, Units { names: vec!["dmar0".into(), "dmar1".into()], remapping: Some(true) });
        assert_eq!(units("  2: 7  IO-APIC  2-edge  timer\n").remapping, Some(false));
        assert_eq!(units("NMI: 0\n").remapping, None);
    }

    #[test]
    fn each_unit_has_its_own_form() {
        let validate = |unit: RemappingUnit, address, data| unit.validate(Pair { address, data }).is_ok();
        assert!(validate(RemappingUnit::Intel, 0xfee0_0298, 0));
        assert!(!validate(RemappingUnit::Intel, 0xfee0_0000, 5));
        assert!(validate(RemappingUnit::Amd, 0xfee0_0000, 5));
        assert!(validate(RemappingUnit::Amd, 0xfee0_0004, 2047), "a unit with 2K remapping");
        assert!(!validate(RemappingUnit::Amd, 0xfee0_0298, 0));
        assert!(!validate(RemappingUnit::Amd, 0xfee0_0008, 0), "a redirection hint");
        assert!(!validate(RemappingUnit::Amd, 0xfee0_0000, 2048));
        assert!(!validate(RemappingUnit::Intel, u64::MAX, u32::MAX));
    }
}
