//! Whether the hardware may deliver a device's interrupts to a running vCPU by itself: posted interrupts (Intel), AVIC
//! (AMD).

use super::Host;
use std::fs;

/// What the kernel and the hardware say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Posting {
    /// Interrupts are posted.
    On,
    /// They come by way of the host's kernel: as correct, and slower.
    Off,
    /// It cannot be read.
    Unknown,
}

/// Capability register of a VT-d unit: posted interrupts (Intel VT-d Specification, Rev. 5.10, section 11.4.2, bit 59).
const POSTED_INTERRUPTS: u64 = 1 << 59;

impl Host {
    /// Whether interrupts are posted on this host.
    #[must_use]
    pub fn posting(&self) -> Posting {
        let asked = [
            self.parameter("kvm_intel", "enable_apicv").and(self.units_post()),
            self.parameter("kvm_amd", "avic"),
        ];
        let wanted = asked.into_iter().fold(Posting::Off, Posting::or);
        // Since 6.16 one switch for both.
        match self.parameter("kvm", "enable_device_posted_irqs") {
            Posting::Off if self.path("sys/module/kvm/parameters/enable_device_posted_irqs").exists() => {
                Posting::Off
            }
            _ => wanted,
        }
    }

    /// Whether a module's switch is on; a module that is not there posts nothing.
    fn parameter(&self, module: &str, name: &str) -> Posting {
        match fs::read_to_string(self.path(&format!("sys/module/{module}/parameters/{name}"))) {
            Ok(value) if matches!(value.trim(), "Y" | "1") => Posting::On,
            Ok(_) => Posting::Off,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Posting::Off,
            Err(_) => Posting::Unknown,
        }
    }

    /// Whether a VT-d unit can post, and was not told not to.
    fn units_post(&self) -> Posting {
        let line = fs::read_to_string(self.path("proc/cmdline")).unwrap_or_default();
        let told_not_to = |word: &str| {
            word.strip_prefix("intremap=")
                .is_some_and(|values| values.split(',').any(|value| value == "nopost"))
        };
        if line.split_whitespace().any(told_not_to) {
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
}

impl Posting {
    /// Of two that are both needed.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Off, _) | (_, Self::Off) => Self::Off,
            (Self::On, Self::On) => Self::On,
            _ => Self::Unknown,
        }
    }

    /// Of two of which one is enough.
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
    fn intel_needs_the_processor_the_unit_and_nobody_who_forbids_it() {
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
        assert_eq!((amd("Y\n"), amd("1\n"), amd("N\n")), (Posting::On, Posting::On, Posting::Off));
    }

    #[test]
    fn the_switch_for_both_counts_where_there_is_one() {
        let fixture = Fixture::new();
        fixture.write("sys/module/kvm_amd/parameters/avic", "Y\n");
        fixture.write("sys/module/kvm/parameters/enable_device_posted_irqs", "N\n");
        assert_eq!(fixture.host.posting(), Posting::Off);
        assert_eq!(Fixture::new().host.posting(), Posting::Off, "no KVM");
    }
}
