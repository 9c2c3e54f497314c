//! The units that remap interrupts, and the form of the pairs that they hand out.

use pvir_abi::Pair;

/// The remapping unit that stands between a device and the host's CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemappingUnit {
    /// Intel VT-d.
    Intel,
    /// AMD-Vi.
    Amd,
}

impl RemappingUnit {
    /// By the unit's name in `/sys/class/iommu`: `dmar0`, `ivhd0`.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "dmar" => Some(Self::Intel),
            "ivhd" => Some(Self::Amd),
            _ => None,
        }
    }

    /// Judges whether `pair` has the form that this unit's driver writes.
    ///
    /// Intel: remappable format, else it would be taken for a plain message (Intel VT-d Specification, Rev. 5.10,
    /// section 5.1.2.2). AMD has no such mark: Linux writes address 0xfee00000 and, as data, an index below 2048 into
    /// the device's own table (AMD 48882 Rev 3.11, section 2.2.5; Linux 6.12, drivers/iommu/amd/iommu.c).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(self, pair: Pair) -> Result<(), String> {
        let right = match self {
            Self::Intel => pair.intel_index().is_some(),
            Self::Amd => pair.address == 0xfee0_0000 && pair.data < 2048,
        };
        if right { Ok(()) } else { Err(format!("{pair} is not in the form of {self:?} interrupt remapping")) }
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
    fn each_unit_has_its_own_form() {
        let judge = |unit: RemappingUnit, address, data| unit.judge(Pair { address, data }).is_ok();
        assert!(judge(RemappingUnit::Intel, 0xfee0_0298, 0));
        assert!(!judge(RemappingUnit::Intel, 0xfee0_0000, 5));
        assert!(judge(RemappingUnit::Amd, 0xfee0_0000, 5));
        assert!(!judge(RemappingUnit::Amd, 0xfee0_0298, 0));
        assert!(!judge(RemappingUnit::Amd, 0xfee0_0000, 2048));
        assert!(!judge(RemappingUnit::Intel, u64::MAX, u32::MAX));
    }
}
