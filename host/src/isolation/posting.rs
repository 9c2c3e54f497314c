//! Whether the hardware may deliver a device's interrupts to a running vCPU by itself: posted interrupts (Intel), AVIC
//! (AMD).

use super::Host;
use std::fs;

/// Whether device interrupts are posted on a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Posting {
    /// The hardware delivers device interrupts to a running vCPU itself.
    On,
    /// The host's kernel delivers device interrupts to vCPUs: as correct, and slower.
    Off,
    /// A file that decides it cannot be read.
    Unknown,
}

/// Capability register of a VT-d unit: posted interrupts (Intel VT-d Specification, Rev. 5.10, section 11.4.2, bit 59).
const POSTED_INTERRUPTS: u64 = 1 << 59;

impl Host {
    /// Whether interrupts are posted on this host.
    #[must_use]
    pub fn posting(&self) -> Posting {
        let intel = self.module_posts("kvm_intel", "enable_apicv").and(self.units_post());
        intel.or(self.module_posts("kvm_amd", "avic"))
    }

    /// Whether KVM's module posts interrupts: it virtualizes the APIC, and, since Linux 6.16, posting is not switched
    /// off.
    fn module_posts(&self, module: &str, virtual_apic: &str) -> Posting {
        let not_told = self.parameter(module, "enable_device_posted_irqs").unwrap_or(Posting::On);
        self.parameter(module, virtual_apic).unwrap_or(Posting::Off).and(not_told)
    }

    /// Whether a module's switch is on; `None` where there is no such switch.
    fn parameter(&self, module: &str, name: &str) -> Option<Posting> {
        match fs::read_to_string(self.path(&format!("sys/module/{module}/parameters/{name}"))) {
            Ok(value) if matches!(value.trim(), "N" | "0") => Some(Posting::Off),
            Ok(_) => Some(Posting::On),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(_) => Some(Posting::Unknown),
        }
    }

    /// Whether a VT-d unit can post interrupts and posting is not switched off.
    fn units_post(&self) -> Posting {
        if self.remapping_option("nopost") {
            return Posting::Off;
        }
        let Ok(units) = fs::read_dir(self.path("sys/class/iommu")) else { return Posting::Unknown };
        let capabilities = units.flatten().filter_map(|unit| {
            let text = fs::read_to_string(unit.path().join("intel-iommu/cap")).ok()?;
            u64::from_str_radix(text.trim(), 16).ok()
        });
        let can = capabilities.into_iter().any(|register| register & POSTED_INTERRUPTS != 0);
        if can { Posting::On } else { Posting::Off }
    }

    /// Whether the kernel parameter `intremap` has this option.
    pub(super) fn remapping_option(&self, option: &str) -> bool {
        let line = fs::read_to_string(self.path("proc/cmdline")).unwrap_or_default();
        let mut options = line.split_whitespace().filter_map(|word| word.strip_prefix("intremap="));
        options.any(|values| values.split(',').any(|value| value == option))
    }
}

impl Posting {
    /// The result of two conditions that are both needed.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Off, _) | (_, Self::Off) => Self::Off,
            (Self::On, Self::On) => Self::On,
            _ => Self::Unknown,
        }
    }

    /// The result of two conditions of which one is enough.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::On, _) | (_, Self::On) => Self::On,
            (Self::Off, Self::Off) => Self::Off,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    const WITH: &str = "8d2008c222f0686\n";
    const WITHOUT: &str = "d2008c222f0686\n";

    fn intel(apicv: &str, cap: &str, command_line: &str) -> Posting {
        let fixture = Fixture::new();
        fixture.write("sys/module/kvm_intel/parameters/enable_apicv", apicv);
        fixture.write("sys/class/iommu/dmar0/intel-iommu/cap", cap);
        fixture.write("proc/cmdline", command_line);
        fixture.host.posting()
    }

    #[test]
    fn intel_needs_the_processor_and_the_unit_and_no_switch_against_it() {
        assert_eq!(intel("Y\n", WITH, "quiet"), Posting::On);
        assert_eq!(intel("N\n", WITH, "quiet"), Posting::Off);
        assert_eq!(intel("Y\n", WITHOUT, "quiet"), Posting::Off);
        assert_eq!(intel("Y\n", WITH, "intremap=on,nopost"), Posting::Off);
    }

    #[test]
    fn amd_needs_avic() {
        let amd = |value: &str| {
            let fixture = Fixture::new();
            fixture.write("sys/module/kvm_amd/parameters/avic", value);
            fixture.host.posting()
        };
        assert_eq!(
            [amd("Y\n"), amd("1\n"), amd("-1\n"), amd("N\n"), amd("0\n")],
            [Posting::On, Posting::On, Posting::On, Posting::Off, Posting::Off]
        );
    }

    #[test]
    fn a_module_that_was_told_not_to_post_does_not() {
        for module in ["kvm_amd", "kvm_intel"] {
            let fixture = Fixture::new();
            fixture.write("sys/class/iommu/dmar0/intel-iommu/cap", WITH);
            fixture
                .write("sys/module/kvm_amd/parameters/avic", if module == "kvm_amd" { "Y\n" } else { "N\n" });
            fixture.write(
                "sys/module/kvm_intel/parameters/enable_apicv",
                if module == "kvm_intel" { "Y\n" } else { "N\n" },
            );
            assert_eq!(fixture.host.posting(), Posting::On);
            fixture.write(&format!("sys/module/{module}/parameters/enable_device_posted_irqs"), "N\n");
            assert_eq!(fixture.host.posting(), Posting::Off);
        }
        assert_eq!(Fixture::new().host.posting(), Posting::Off, "no KVM");
    }

    #[test]
    fn a_switch_that_cannot_be_read_is_not_known_to_be_off() {
        let fixture = Fixture::new();
        fixture.write("sys/module/kvm_amd/parameters/avic/folder", "");
        assert_eq!(fixture.host.posting(), Posting::Unknown);
    }
}
