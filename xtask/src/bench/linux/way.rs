//! Who runs the guest, and how.

use serde::Serialize;

use super::super::pictures::Mark;
use super::super::what::Way;

/// Virtual CPUs and memory of each guest.
const CPUS: u32 = 2;
const MEMORY: &str = "512M";
/// What each guest's kernel is told. The variable is set where the command runs.
const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 mitigations=off iomem=relaxed pvir.run=bench pvir.ask=$PVIR_ASK";
/// Has a guest with a remapping unit for its interrupts take no other service of it: the device's memory accesses go the
/// short way, as they do in the other guests.
const ONLY_INTERRUPTS: &str = "intel_iommu=off";

/// Who programs the devices, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Host {
    /// `pvir`, and the guest has its module.
    PvirModule,
    /// `pvir`, and the guest knows nothing of it.
    PvirTrapped,
    /// QEMU with the I/O APIC in the VMM, the other controllers in the kernel.
    Qemu,
    /// The same with an emulated remapping unit, for which Linux has a driver.
    QemuRemapping,
    /// Cloud Hypervisor.
    CloudHypervisor,
}

impl Host {
    pub(super) const ALL: [Self; 5] =
        [Self::PvirModule, Self::PvirTrapped, Self::Qemu, Self::QemuRemapping, Self::CloudHypervisor];

    /// As tables and scripts call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PvirModule => "pvir-module",
            Self::PvirTrapped => "pvir-trapped",
            Self::Qemu => "qemu",
            Self::QemuRemapping => "qemu-ir",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|host| host.name() == name)
    }

    /// How pictures show it.
    pub(super) fn mark(self) -> Mark {
        match self {
            Self::PvirModule => Mark::new(self.name(), Way::Direct),
            Self::PvirTrapped => Mark::new(self.name(), Way::Trapped),
            Self::Qemu => Mark::new(self.name(), Way::Qemu),
            Self::QemuRemapping => Mark::another(self.name()),
            Self::CloudHypervisor => Mark::new(self.name(), Way::CloudHypervisor),
        }
    }

    /// Whether its VMM is `pvir`, which counts by itself too.
    pub(super) const fn is_pvir(self) -> bool {
        matches!(self, Self::PvirModule | Self::PvirTrapped)
    }

    /// The shell's command that becomes the VMM, in the lab, with all devices passed through.
    pub(super) fn command(self, drivers: &[&str], moves: u32, masks: u32) -> String {
        let module = if self == Self::PvirModule { "yes" } else { "no" };
        let mut line = format!(
            "{COMMAND_LINE} pvir.drivers={} pvir.moves={moves} pvir.masks={masks} pvir.module={module}",
            drivers.join(",")
        );
        if self == Self::QemuRemapping {
            line = format!("{line} {ONLY_INTERRUPTS}");
        }
        let devices = |words: &str| {
            format!("set --; for device in $PVIR_DEVICES; do set -- \"$@\" {words}; done; exec ")
        };
        match self {
            Self::PvirModule | Self::PvirTrapped => {
                devices("--device vfio=$device")
                    + &format!(
                        "pvir run --cpus {CPUS} --memory {MEMORY} --json - --append \"{line}\" \"$@\" \
                         --initrd $PVIR_INITRD $PVIR_LINUX"
                    )
            }
            Self::Qemu | Self::QemuRemapping => {
                let unit = "-device intel-iommu,intremap=on,caching-mode=on";
                let unit = if self == Self::QemuRemapping { unit } else { "" };
                devices("-device vfio-pci,host=$device,rombar=0")
                    + &format!(
                        "./qemu/run -L ./qemu/rom -accel kvm -cpu host,+x2apic -machine q35,kernel-irqchip=split \
                         -m {MEMORY} -smp {CPUS} -nodefaults -no-user-config -no-reboot -display none -serial stdio \
                         -kernel $PVIR_LINUX -initrd $PVIR_INITRD -append \"{line}\" {unit} \"$@\""
                    )
            }
            Self::CloudHypervisor => {
                devices("path=/sys/bus/pci/devices/$device/")
                    + &format!(
                        "./cloud-hypervisor/run --kernel $PVIR_LINUX --initramfs $PVIR_INITRD --cmdline \"{line}\" \
                         --cpus boot={CPUS} --memory size={MEMORY} --serial tty --console off --device \"$@\""
                    )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_way_has_the_module_and_only_one_a_remapping_unit() {
        for host in Host::ALL {
            let command = host.command(&["igb", "nvme"], 100, 50);
            assert_eq!(command.contains("pvir.module=yes"), host == Host::PvirModule, "{command}");
            assert_eq!(command.contains("intremap=on"), host == Host::QemuRemapping, "{command}");
            assert!(command.contains("pvir.drivers=igb,nvme pvir.moves=100 pvir.masks=50"), "{command}");
            assert_eq!(Host::named(host.name()), Some(host));
        }
    }
}
