//! The host as a whole: IOMMU, remapping, switches, kernel, posting, VFIO.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use pvir_abi::Refusal;
use pvir_host::isolation::{Defect, DefectPolicy, Host, Posting, Units};
use pvir_host::vfio::VfioWay;

use super::check::Check;
use crate::devices::vfio_way;

const KERNEL: &str = "kernel";
const SWITCHES: &str = "switches";

/// All of them.
pub(super) fn checks(host: &Host) -> Vec<Check> {
    let units = host.units();
    let mut checks = vec![iommu(&units), remapping(&units, &kernel_log(host))];
    let reasons = host.host_reasons();
    if reasons.iter().all(|reason| reason.refusal == Refusal::KERNEL_DEFECT) {
        checks.push(Check::ok(SWITCHES, "none that weakens the host is set"));
    }
    for reason in reasons {
        let name = if reason.refusal == Refusal::KERNEL_DEFECT { KERNEL } else { SWITCHES };
        checks.push(Check::fail(name, reason.what, reason.remedy).for_all_host_devices());
    }
    checks.extend(kernel(host));
    checks.push(posting(host.posting()));
    checks.push(vfio(host));
    checks
}

fn iommu(units: &Units) -> Check {
    const NAME: &str = "iommu";
    let vendor = |prefix: &str| units.names.iter().filter(|name| name.starts_with(prefix)).count();
    match (vendor("dmar"), vendor("ivhd")) {
        (0, 0) => Check::fail(
            NAME,
            "the kernel uses none",
            "turn it on in the firmware (VT-d or AMD-Vi), and boot Intel hosts with intel_iommu=on",
        )
        .for_all_host_devices(),
        (intel, 0) => Check::ok(NAME, format!("Intel VT-d, {intel} unit(s)")),
        (_, amd) => Check::ok(NAME, format!("AMD-Vi, {amd} unit(s), a table of interrupts for each device")),
    }
}

fn remapping(units: &Units, log: &str) -> Check {
    const NAME: &str = "interrupt remapping";
    const HELP: &str =
        "turn on x2APIC and VT-d or AMD-Vi in the firmware; no intremap=off on the kernel's command line";
    // What Linux 6.12 says: drivers/iommu/intel/irq_remapping.c, drivers/iommu/amd/init.c.
    let wide = ["Enabled IRQ remapping in x2apic mode", "AMD-Vi: X2APIC enabled"]
        .iter()
        .any(|line| log.contains(line));
    let narrow = log.contains("Enabled IRQ remapping in xapic mode");
    match (units.remapping, wide, narrow) {
        (Some(false), ..) => Check::fail(NAME, "off", HELP).for_all_host_devices(),
        (Some(true), true, _) => Check::ok(NAME, "on, in x2APIC mode"),
        (Some(true), _, true) => {
            Check::warn(NAME, "on, in xAPIC mode: 255 host CPUs at most", "turn on x2APIC in the firmware")
        }
        (Some(true), ..) => Check::ok(NAME, "on (the kernel's log does not tell this user the APIC's mode)"),
        (None, ..) => Check::skip(
            NAME,
            "cannot be told from /proc/interrupts",
            "see the kernel's log for `IRQ remapping`",
        ),
    }
}

/// The kernel's log as far as this user may read it.
fn kernel_log(host: &Host) -> String {
    let mut text = String::new();
    let mut options = OpenOptions::new();
    let log = options.read(true).custom_flags(libc::O_NONBLOCK).open(host.path("dev/kmsg"));
    let Ok(mut log) = log else { return text };
    // One record a read, until there is none; a record that was overwritten meanwhile is left out.
    let mut record = [0; 8192];
    for _ in 0..100_000 {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => text.push_str(&String::from_utf8_lossy(&record[..length])),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    text
}

/// What the kernel may have that is not refused; that comes with the switches.
fn kernel(host: &Host) -> Vec<Check> {
    let Some(release) = host.release() else {
        return vec![Check::skip(KERNEL, "its release cannot be read", "mount /proc")];
    };
    let defects = host.defects();
    if defects.is_empty() {
        return vec![Check::ok(KERNEL, format!("Linux {release} has no defect that is known here"))];
    }
    let warning = |defect: &Defect| {
        let why = match defect.policy {
            DefectPolicy::Avoided(why) => why,
            DefectPolicy::RefusedWherePosted if host.posting() == Posting::Off => {
                "no interrupt is posted on this host"
            }
            DefectPolicy::RefusedWherePosted => return None,
            _ => "the service deals with it",
        };
        Some(Check::warn(
            KERNEL,
            format!("Linux {release} may have {} ({}); not met here: {why}", defect.record, defect.what),
            "update the kernel; distributions mend some without a new version number",
        ))
    };
    defects.iter().filter_map(warning).collect()
}

fn posting(posting: Posting) -> Check {
    const NAME: &str = "posted interrupts";
    match posting {
        Posting::On => Check::ok(NAME, "on: interrupts reach a running vCPU without its host CPU"),
        Posting::Off => {
            Check::ok(NAME, "off: interrupts come by way of the host's kernel, correct and slower")
        }
        Posting::Unknown => Check::skip(NAME, "cannot be told: /sys cannot be read", "run as root"),
    }
}

/// The driver, and the two ways, of which a host needs one.
fn vfio(host: &Host) -> Check {
    const NAME: &str = "vfio";
    if !host.path("sys/bus/pci/drivers/vfio-pci").exists() {
        return Check::fail(NAME, "the driver vfio-pci is not there", "modprobe vfio-pci")
            .for_all_host_devices();
    }
    let (mut open, mut closed, mut help) = (Vec::new(), Vec::new(), "");
    for way in [VfioWay::Group, VfioWay::Cdev] {
        let node = host.path(way.file());
        match way.check_host(host) {
            Ok(()) => open.push(format!("by {way}: {} can be opened", node.display())),
            Err(error) => {
                closed.push(format!("not by {way}: cannot open {}: {error}", node.display()));
                help = vfio_way::remedy(way, error.kind() == ErrorKind::PermissionDenied);
            }
        }
    }
    if open.is_empty() {
        return Check::fail(NAME, closed.join("; "), help).for_all_host_devices();
    }
    open.extend(closed);
    Check::ok(NAME, open.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;
    use crate::host_commands::doctor::check::Level;

    fn units(names: &[&str], remapping: Option<bool>) -> Units {
        let mut units = Units::default();
        units.names.extend(names.iter().map(|name| (*name).to_owned()));
        units.remapping = remapping;
        units
    }

    #[test]
    fn units_are_told_by_vendor() {
        assert!(iommu(&units(&["dmar0", "dmar1"], None)).what.starts_with("Intel VT-d, 2"));
        assert!(iommu(&units(&["ivhd0"], None)).what.starts_with("AMD-Vi, 1"));
        assert!(iommu(&units(&[], None)).blocks_host_devices());
    }

    #[test]
    fn remapping_is_told_by_the_table_and_its_mode_by_the_log() {
        let say = |on, log: &str| remapping(&units(&["dmar0"], on), log);
        assert!(say(Some(false), "").blocks_host_devices());
        assert_eq!(
            say(Some(true), "DMAR-IR: Enabled IRQ remapping in x2apic mode").what,
            "on, in x2APIC mode"
        );
        assert_eq!(say(Some(true), "DMAR-IR: Enabled IRQ remapping in xapic mode").level, Level::Warn);
        assert_eq!(say(Some(true), "").level, Level::Ok);
        assert_eq!(say(None, "").level, Level::Skip);
    }

    #[test]
    fn a_kernel_with_a_defect_that_is_not_met_is_warned_of() {
        let fake = FakeHost::new();
        assert_eq!(kernel(&fake.host)[0].level, Level::Ok);
        fake.write("proc/sys/kernel/osrelease", "6.12.20\n");
        let checks = kernel(&fake.host);
        assert!(checks.len() == 2 && checks.iter().all(|check| check.level == Level::Warn), "{checks:?}");
        assert!(checks[0].what.contains("CVE-2025-37885"));
        fake.write("proc/sys/kernel/osrelease", "6.17.3\n");
        assert!(kernel(&fake.host)[1].what.contains("no interrupt is posted"));
    }

    #[test]
    fn a_kernel_with_a_defect_that_is_met_fails_for_all_devices() {
        let fake = FakeHost::new();
        fake.write("proc/sys/kernel/osrelease", "6.17.3\n");
        fake.write("sys/module/kvm_amd/parameters/avic", "Y\n");
        let checks = checks(&fake.host);
        let about = |name| checks.iter().filter(move |check| check.check == name);
        assert!(about(KERNEL).any(Check::blocks_host_devices));
        assert!(about(SWITCHES).all(|check| check.level == Level::Ok), "{checks:?}");
    }

    #[test]
    fn vfio_needs_its_driver_and_one_of_the_ways() {
        let fake = FakeHost::new();
        let said = || vfio(&fake.host).to_string();
        assert!(
            said().contains("not by group: cannot open") && said().contains("; not by cdev: "),
            "{}",
            said()
        );
        assert!(vfio(&fake.host).blocks_host_devices());
        fake.write("dev/vfio/vfio", "");
        assert!(said().starts_with("ok ") && said().contains("; not by cdev: cannot open"), "{}", said());
        fake.write("dev/iommu", "");
        assert!(said().contains("by group") && !said().contains("not by"), "{}", said());
        std::fs::remove_file(fake.path("dev/vfio/vfio")).unwrap();
        assert!(said().starts_with("ok ") && said().contains("; not by group"), "{}", said());
        std::fs::remove_dir_all(fake.path("sys/bus/pci/drivers/vfio-pci")).unwrap();
        assert!(vfio(&fake.host).blocks_host_devices());
    }

    #[test]
    fn a_switch_that_weakens_the_host_fails_for_all_devices() {
        let fake = FakeHost::new();
        fake.write("proc/cmdline", "intremap=nosid\n");
        let checks = checks(&fake.host);
        let found = checks.iter().find(|check| check.check == "switches").unwrap();
        assert!(found.blocks_host_devices() && found.what.contains("intremap=nosid"), "{found}");
    }
}
