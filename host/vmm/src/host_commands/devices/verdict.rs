//! Whether a guest may program a host device, and what is to be done before.

use std::fmt;

use pvir_abi::DeviceId;
use pvir_host::isolation::{Function, Host, MessageCounts};
use serde::Serialize;

use crate::host_commands::binding::usage;

/// What can be done with a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// vfio-pci has all of its group: it can be given to a VM now.
    Ready {
        /// All that must go to the same VM.
        together: Vec<String>,
    },
    /// It can after these are given to vfio-pci.
    Bindable {
        /// What to give to it.
        bind: Vec<String>,
    },
    /// It cannot.
    No {
        /// Why, each with a remedy.
        reasons: Vec<String>,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { together } => {
                let devices: Vec<_> =
                    together.iter().map(|device| format!("--device vfio={device}")).collect();
                write!(f, "ready: {}", devices.join(" "))
            }
            Self::Bindable { bind } => write!(f, "can be passed through after: pvir bind {}", bind.join(" ")),
            Self::No { reasons } => write!(f, "no: {}", reasons.join("\n    no: ")),
        }
    }
}

/// Judges a function, with all endpoints of its group given to the same VM. What is wrong with the host as a whole is
/// not repeated for each.
pub(crate) fn of(host: &Host, function: &Function) -> Verdict {
    let device = function.address;
    let no = |reason: String| Verdict::No { reasons: vec![reason] };
    if function.is_bridge() {
        return no("it is a bridge: what is behind it can be passed through, not it".into());
    }
    let endpoints = match host.group_endpoints(device) {
        Ok(endpoints) => endpoints,
        Err(error) => return no(error.to_string()),
    };
    let mut reasons = Vec::new();
    reasons.extend(host.unit(device).err().map(|error| error.to_string()));
    let of_host: Vec<_> = host.host_reasons();
    let own = host.reasons(device, &endpoints).into_iter().filter(|reason| !of_host.contains(reason));
    reasons.extend(own.map(|reason| reason.to_string()));
    if host.messages(device) == Some(MessageCounts::default()) {
        reasons.push("it has neither MSI nor MSI-X: there is nothing for a guest to program".into());
    }
    let bind: Vec<DeviceId> =
        endpoints.iter().copied().filter(|endpoint| !has_vfio(host, *endpoint)).collect();
    for endpoint in &bind {
        reasons.extend(usage::of(host, *endpoint).err().map(|used| used.to_string()));
    }
    let names = |devices: &[DeviceId]| devices.iter().map(ToString::to_string).collect();
    match (reasons.is_empty(), bind.is_empty()) {
        (false, _) => Verdict::No { reasons },
        (true, true) => Verdict::Ready { together: names(&endpoints) },
        (true, false) => Verdict::Bindable { bind: names(&bind) },
    }
}

fn has_vfio(host: &Host, device: DeviceId) -> bool {
    host.function(device).is_ok_and(|function| function.driver.as_deref() == Some("vfio-pci"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_host::FakeHost;

    fn verdict(fake: &FakeHost, address: &str) -> Verdict {
        of(
            &fake.host,
            &fake.host.function(crate::host_commands::devices::parse_address(address).unwrap()).unwrap(),
        )
    }

    #[test]
    fn a_device_of_vfio_is_ready_and_any_other_is_to_be_bound() {
        let fake = FakeHost::new();
        fake.add("0000:00:05.0", 0x02_0000, Some("vfio-pci"), Some(1));
        fake.add("0000:00:06.0", 0x02_0000, Some("igb"), Some(2));
        assert_eq!(verdict(&fake, "0000:00:05.0"), Verdict::Ready { together: vec!["0000:00:05.0".into()] });
        assert_eq!(verdict(&fake, "0000:00:06.0"), Verdict::Bindable { bind: vec!["0000:00:06.0".into()] });
    }

    #[test]
    fn a_group_goes_as_a_whole() {
        let fake = FakeHost::new();
        fake.add("0000:00:05.0", 0x02_0000, Some("vfio-pci"), Some(1));
        fake.add("0000:00:05.1", 0x02_0000, Some("igb"), Some(1));
        assert_eq!(verdict(&fake, "0000:00:05.0"), Verdict::Bindable { bind: vec!["0000:00:05.1".into()] });
    }

    #[test]
    fn bridges_devices_without_group_and_known_offenders_are_not_passed_through() {
        let fake = FakeHost::new();
        fake.add("0000:00:01.0", 0x06_0400, None, Some(1));
        fake.add("0000:00:02.0", 0x02_0000, None, None);
        fake.add("0000:00:03.0", 0x06_8000, Some("vfio-pci"), Some(3));
        let says = |address: &str| verdict(&fake, address).to_string();
        assert!(says("0000:00:01.0").contains("it is a bridge"));
        assert!(says("0000:00:02.0").contains("has no IOMMU group"));
        assert!(says("0000:00:03.0").starts_with("no: "));
    }

    #[test]
    fn a_used_device_says_by_what() {
        let fake = FakeHost::new();
        fake.add("0000:00:05.0", 0x02_0000, Some("igb"), Some(1));
        fake.interface("0000:00:05.0", "eth0", true);
        let said = verdict(&fake, "0000:00:05.0").to_string();
        assert!(said.contains("eth0"), "{said}");
    }
}
