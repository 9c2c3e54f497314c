//! The host's devices, by IOMMU group: can a guest have them, and what of what vfio-pci has is dynamic?

use std::collections::BTreeMap;
use std::sync::Arc;

use pvir_abi::DeviceId;
use pvir_host::counters::Counters;
use pvir_host::isolation::{Function, Host};
use pvir_host::vfio::{Container, Demand, VfioPci, VfioWay};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::check::Check;
use crate::host_commands::devices::class;
use crate::host_commands::devices::verdict::{self, Verdict};

/// What came of them.
pub(super) struct Devices {
    pub(super) checks: Vec<Check>,
    /// Those that a guest can program, now or once they are bound.
    pub(super) usable: Vec<DeviceId>,
}

/// A line for each group, and one for each device that vfio-pci has, if there is a point in opening it.
pub(super) fn checks(host: &Host, isolates: bool) -> Devices {
    let addresses = host.functions().unwrap_or_default();
    let unseen = addresses.iter().any(|address| host.messages(*address).is_none());
    let functions = addresses.into_iter().filter_map(|address| host.function(address).ok());
    let mut groups: BTreeMap<u32, Vec<Function>> = BTreeMap::new();
    let mut without = 0;
    for function in functions.filter(|function| !function.is_bridge()) {
        match function.group {
            Some(group) => groups.entry(group).or_default().push(function),
            None => without += 1,
        }
    }
    let mut found = Devices { checks: Vec::new(), usable: Vec::new() };
    for (group, members) in groups {
        found.group(host, group, &members, isolates);
    }
    if unseen {
        found.checks.push(Check::skip(
            "user",
            "this user sees neither MSI, MSI-X and phantom functions of the devices, nor who has them open",
            "run as root",
        ));
    }
    if without > 0 {
        found.checks.push(Check::warn(
            "group",
            format!("{without} device(s) in none, so that nothing isolates them"),
            "turn on the IOMMU (VT-d or AMD-Vi) in the firmware, and boot Intel hosts with intel_iommu=on",
        ));
    }
    found
}

impl Devices {
    fn group(&mut self, host: &Host, group: u32, members: &[Function], isolates: bool) {
        let name = |function: &Function| {
            let driver = function.driver.as_deref().unwrap_or("no driver");
            format!("{} ({}, {driver})", function.address, class::name(function.class))
        };
        let names: Vec<_> = members.iter().map(name).collect();
        let what = format!("{group}: {}", names.join(", "));
        let verdicts: Vec<Verdict> = members.iter().map(|member| verdict::of(host, member)).collect();
        let refused = verdicts.iter().find_map(|verdict| match verdict {
            Verdict::No { reasons } => reasons.first(),
            _ => None,
        });
        if let Some(reason) = refused {
            let (reason, help) = reason.split_once("; help: ").unwrap_or((reason, "use another device"));
            self.checks.push(Check::warn("group", format!("{what}: not for a guest: {reason}"), help));
            return;
        }
        self.usable.extend(members.iter().map(|member| member.address));
        match verdicts.first() {
            Some(Verdict::Bindable { bind }) => {
                let help = format!("pvir bind --yes {}", bind.join(" "));
                self.checks.push(Check::warn(
                    "group",
                    format!("{what}: isolated, not bound to vfio-pci"),
                    help,
                ));
            }
            _ => {
                self.checks.push(Check::ok("group", format!("{what}: isolated, bound to vfio-pci")));
                if isolates {
                    self.open(host, members);
                }
            }
        }
    }

    fn open(&mut self, host: &Host, members: &[Function]) {
        let all: Vec<DeviceId> = members.iter().map(|member| member.address).collect();
        for &device in &all {
            let check = match open(host, device, &all) {
                Ok(pci) => describe(&pci),
                Err(Unopened::Busy) => Check::skip(
                    "device",
                    format!("{device}: another program has it, so it was not looked into"),
                    "end that program first",
                ),
                Err(Unopened::Failed(message)) => {
                    self.usable.retain(|usable| *usable != device);
                    Check::fail_by("device", &message)
                }
            };
            self.checks.push(check);
        }
    }
}

/// The line of a device that the user has named. `fit` says that nothing is wrong with the device and its group, and
/// `usable` are the devices that a guest can have on this host.
pub(super) fn named(host: &Host, device: DeviceId, fit: bool, usable: &[DeviceId]) -> Check {
    const NAME: &str = "named";
    if host.functions().is_ok_and(|there| !there.contains(&device)) {
        let help = "`pvir devices --all` lists those that are there";
        return Check::fail(NAME, format!("{device}: there is no such device"), help);
    }
    let function = match host.function(device) {
        Ok(function) => function,
        Err(error) => return Check::fail_by(NAME, &format!("{device}: {error}")),
    };
    match verdict::of(host, &function) {
        Verdict::No { reasons } => {
            let reason = reasons.first().map_or("it is not for a guest", String::as_str);
            let (reason, help) = reason.split_once("; help: ").unwrap_or((reason, "use another device"));
            let more = match reasons.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more: see `pvir devices`)", count - 1),
            };
            let known = reason.starts_with(&device.to_string());
            let what = if known { format!("{reason}{more}") } else { format!("{device}: {reason}{more}") };
            Check::fail(NAME, what, help)
        }
        _ if !fit => {
            Check::fail(NAME, format!("{device}: it or another of its group failed above"), "see there")
        }
        _ if !usable.contains(&device) => Check::fail(
            NAME,
            format!("{device}: nothing is wrong with it, but with this host"),
            "mend what failed above",
        ),
        Verdict::Bindable { bind } => Check::warn(
            NAME,
            format!("{device}: a guest can program it once its group is bound to vfio-pci"),
            format!("pvir bind --yes {}", bind.join(" ")),
        ),
        Verdict::Ready { .. } => Check::ok(NAME, format!("{device}: a guest can program it directly")),
    }
}

enum Unopened {
    Busy,
    Failed(String),
}

/// Opens it as a VM would, with a page of RAM.
fn open(host: &Host, device: DeviceId, all: &[DeviceId]) -> Result<VfioPci, Unopened> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Unopened::Failed(format!("{device}: {what}: {error}"));
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 4096)])
        .map_err(|error| failed("cannot allocate a page", &error))?;
    let way = VfioWay::choose(host, all);
    let container = Container::by(way, &ram, None, Arc::new(Counters::new()))
        .map_err(|error| failed(&format!("cannot open /{}", way.file()), &error))?;
    VfioPci::open(&Arc::new(container), host, device, all, Demand::Isolation)
        .map_err(|error| if error.is_in_use() { Unopened::Busy } else { Unopened::Failed(error.to_string()) })
}

fn describe(pci: &VfioPci) -> Check {
    let device = pci.address();
    let Some(msix) = pci.msix() else {
        let messages = pci.msi().map_or(0, |msi| msi.shape.messages());
        return Check::ok("device", format!("{device}: MSI with {messages} message(s), no MSI-X"));
    };
    if !pci.is_mappable(msix.table_bar) {
        return Check::fail(
            "device",
            format!("{device}: the kernel does not let the MSI-X table be mapped"),
            "use a kernel whose vfio-pci has VFIO_REGION_INFO_CAP_MSIX_MAPPABLE (4.16 or newer)",
        );
    }
    let entries = msix.entries;
    if pci.is_dynamic() {
        return Check::ok("device", format!("{device}: {entries} MSI-X entries, one by one (dynamic)"));
    }
    Check::warn(
        "device",
        format!("{device}: {entries} MSI-X entries, all allocated at once (no dynamic MSI-X)"),
        "Linux 6.5 or newer has it for most devices; nothing is lost but host vectors",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;
    use crate::host_commands::doctor::check::Level;

    #[test]
    fn groups_are_judged_as_a_whole() {
        let fake = FakeHost::new();
        fake.add("0000:00:00.0", 0x06_0000, None, Some(1));
        fake.add("0000:00:05.0", 0x02_0000, Some("igb"), Some(2));
        fake.add("0000:00:05.1", 0x02_0000, Some("vfio-pci"), Some(2));
        fake.add("0000:00:06.0", 0x02_0000, Some("vfio-pci"), Some(3));
        fake.add("0000:00:07.0", 0x06_8000, Some("igb"), Some(4));
        fake.add("0000:00:08.0", 0x02_0000, Some("igb"), None);
        fake.interface("0000:00:05.0", "eth0", false);
        let found = checks(&fake.host, false);
        let levels: Vec<Level> = found.checks.iter().map(|check| check.level).collect();
        assert_eq!(levels, [Level::Warn, Level::Ok, Level::Warn], "{:?}", found.checks);
        assert_eq!(found.checks[0].help.as_deref(), Some("pvir bind --yes 0000:00:05.0"));
        assert!(found.checks[2].what.starts_with("1 device(s) in none"));
        let usable: Vec<String> = found.usable.iter().map(ToString::to_string).collect();
        assert_eq!(usable, ["0000:00:05.0", "0000:00:05.1", "0000:00:06.0"]);
    }

    #[test]
    fn each_named_device_has_a_line_that_says_what_is_with_it() {
        let fake = FakeHost::new();
        fake.add("0000:00:01.0", 0x06_0400, None, Some(1));
        fake.add("0000:00:05.0", 0x02_0000, Some("igb"), Some(2));
        fake.add("0000:00:06.0", 0x02_0000, Some("vfio-pci"), Some(3));
        let line = |text: &str, fit: bool, usable: bool| {
            let device = crate::host_commands::devices::parse_address(text).unwrap();
            let usable = if usable { vec![device] } else { Vec::new() };
            named(&fake.host, device, fit, &usable).to_string()
        };
        for (text, fit, usable, begin) in [
            ("0000:00:0f.0", false, false, "fail  named: 0000:00:0f.0: there is no such"),
            ("0000:00:01.0", false, false, "fail  named: 0000:00:01.0: it is a bridge"),
            ("0000:00:06.0", false, false, "fail  named: 0000:00:06.0: it or another"),
            ("0000:00:06.0", true, false, "fail  named: 0000:00:06.0: nothing is wrong with it"),
            ("0000:00:05.0", true, true, "warn  named: 0000:00:05.0: a guest can program it once"),
            ("0000:00:06.0", true, true, "ok    named: 0000:00:06.0: a guest can program it directly"),
        ] {
            assert!(line(text, fit, usable).starts_with(begin), "{}", line(text, fit, usable));
        }
    }

    #[test]
    fn what_a_user_cannot_see_is_said() {
        let fake = FakeHost::new();
        fake.add("0000:00:05.0", 0x02_0000, Some("vfio-pci"), Some(2));
        fake.write(&format!("{}/config", FakeHost::folder("0000:00:05.0")), [0; 64]);
        let found = checks(&fake.host, false);
        assert!(found.checks.iter().any(|check| check.check == "user" && check.level == Level::Skip));
    }

    #[test]
    fn a_device_in_use_makes_its_group_useless() {
        let fake = FakeHost::new();
        fake.add("0000:00:05.0", 0x02_0000, Some("igb"), Some(2));
        fake.interface("0000:00:05.0", "eth0", true);
        let found = checks(&fake.host, false);
        assert!(found.usable.is_empty());
        assert!(found.checks[0].to_string().contains("eth0, which is up; help: "), "{}", found.checks[0]);
    }
}
