//! The units that remap interrupts, and the format of the address/data pairs that they hand out.

use super::Host;
use super::form;
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

impl RemappingUnit {
    /// The kind of the unit that `/sys/class/iommu` names `name`, for example `dmar0` or `ivhd0`.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "dmar" => Some(Self::Intel),
            "ivhd" => Some(Self::Amd),
            _ => None,
        }
    }

    /// Validates that `pair` has the form in which this unit's Linux driver writes pairs. What the driver never writes is
    /// refused, also where the unit would take it.
    ///
    /// # Errors
    /// Why it is refused, as a phrase for a log message.
    pub fn validate(self, pair: Pair) -> Result<(), String> {
        let right = match self {
            Self::Intel => form::is_intel(pair),
            Self::Amd => form::is_amd(pair),
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
        let (intel, amd) = (Pair { address: 0xfee0_0298, data: 0 }, Pair { address: 0xfee0_0004, data: 5 });
        let taken = |pair| [RemappingUnit::Intel, RemappingUnit::Amd].map(|unit| unit.validate(pair).is_ok());
        assert_eq!((taken(intel), taken(amd)), ([true, false], [false, true]));
        let said = RemappingUnit::Intel.validate(amd).unwrap_err();
        assert_eq!(said, "0xfee00004/0x0005 is not in the form of Intel interrupt remapping");
    }
}
