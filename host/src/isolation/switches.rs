//! Kernel and module parameters that weaken the host's isolation.

use super::Host;
use super::NotIsolated;
use pvir_abi::Refusal;
use std::fs;
use std::io::{self, ErrorKind};

/// Kernel parameters that take isolation away: name, value (in a comma-separated list; empty for any), reason.
const PARAMETERS: &[(&str, &str, Refusal, &str)] = &[
    ("nointremap", "", Refusal::NO_REMAPPING, "interrupt remapping is off"),
    ("intremap", "off", Refusal::NO_REMAPPING, "interrupt remapping is off"),
    ("intremap", "nosid", Refusal::NO_SOURCE_ID, "interrupt remapping does not verify the source id"),
    ("amd_iommu", "off", Refusal::NO_REMAPPING, "the IOMMU is off"),
    ("iommu", "off", Refusal::NO_REMAPPING, "the IOMMU is off"),
    ("pcie_acs_override", "", Refusal::ACS_OVERRIDDEN, "isolation between functions is assumed, not checked"),
];

/// Module parameters that must be `N`, and what they do.
const MODULES: &[(&str, Refusal, &str)] = &[
    (
        "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        Refusal::UNSAFE_INTERRUPTS,
        "VFIO takes devices without interrupt isolation",
    ),
    (
        "sys/module/iommufd/parameters/allow_unsafe_interrupts",
        Refusal::UNSAFE_INTERRUPTS,
        "iommufd takes devices without interrupt isolation",
    ),
    (
        "sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
        Refusal::NO_IOMMU,
        "VFIO gives devices away without an IOMMU, and these reach all of the host",
    ),
];

impl Host {
    pub(super) fn validate_command_line(&self) -> Result<(), NotIsolated> {
        let unknown = |error| unread("the kernel's command line (/proc/cmdline)", &error, "mount /proc");
        let line = fs::read_to_string(self.path("proc/cmdline")).map_err(unknown)?;
        match line.split_whitespace().find_map(weakened) {
            None => Ok(()),
            Some((word, refusal, what)) => Err(NotIsolated {
                refusal,
                what: format!("the host was booted with '{word}': {what}"),
                remedy: format!("remove '{word}' from the kernel's command line and boot again"),
            }),
        }
    }

    pub(super) fn validate_modules(&self) -> Result<(), NotIsolated> {
        for &(file, refusal, what) in MODULES {
            let value = match fs::read_to_string(self.path(file)) {
                Ok(value) => value,
                // A module that is not loaded has no parameter.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(unread(&format!("/{file}"), &error, "let this user read it")),
            };
            if value.trim() != "N" {
                return Err(NotIsolated {
                    refusal,
                    what: format!("/{file} is {}: {what}", value.trim()),
                    remedy: format!("echo N > /{file}, and remove the option from /etc/modprobe.d"),
                });
            }
        }
        Ok(())
    }
}

/// The reason to refuse a device because a file cannot be read: what is not known is not safe.
pub(super) fn unread(what: &str, error: &io::Error, remedy: &str) -> NotIsolated {
    NotIsolated {
        refusal: Refusal::POLICY,
        what: format!("{what} cannot be read: {error}"),
        remedy: remedy.to_owned(),
    }
}

/// Parses a parameter as the kernel does: quotes are taken off, dashes are underscores, and a value counts by its start
/// (Linux 6.12, lib/cmdline.c, kernel/params.c, drivers/iommu/irq_remapping.c).
fn weakened(word: &str) -> Option<(&str, Refusal, &'static str)> {
    let bare = word.replace('"', "");
    let (name, values) = bare.split_once('=').unwrap_or((&bare, ""));
    let name = name.replace('-', "_");
    let hit = |&&(parameter, value, ..): &&(&str, &str, Refusal, &str)| {
        parameter == name && (value.is_empty() || values.split(',').any(|given| given.starts_with(value)))
    };
    PARAMETERS.iter().find(hit).map(|&(_, _, refusal, what)| (word, refusal, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(command_line: &str, unsafe_interrupts: Option<&str>) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("proc")).unwrap();
        fs::write(root.path().join("proc/cmdline"), command_line).unwrap();
        if let Some(value) = unsafe_interrupts {
            let file = root.path().join(MODULES[0].0);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, value).unwrap();
        }
        let host = Host::at(root.path());
        (root, host)
    }

    fn refusal(command_line: &str) -> Option<Refusal> {
        host(command_line, None).1.validate_command_line().err().map(|reason| reason.refusal)
    }

    #[test]
    fn switches_that_weaken_the_host_are_found() {
        assert_eq!(refusal("ro intel_iommu=on intremap=off"), Some(Refusal::NO_REMAPPING));
        assert_eq!(refusal("nointremap"), Some(Refusal::NO_REMAPPING));
        assert_eq!(refusal("intremap=on,nosid quiet"), Some(Refusal::NO_SOURCE_ID));
        assert_eq!(refusal("pcie_acs_override=downstream"), Some(Refusal::ACS_OVERRIDDEN));
        assert_eq!(refusal("amd_iommu=off"), Some(Refusal::NO_REMAPPING));
        // As the kernel reads them.
        assert_eq!(refusal("intremap=\"nosid\""), Some(Refusal::NO_SOURCE_ID));
        assert_eq!(refusal("\"intremap=on,nosid\""), Some(Refusal::NO_SOURCE_ID));
        assert_eq!(refusal("intremap=nosid1"), Some(Refusal::NO_SOURCE_ID));
        assert_eq!(refusal("pcie-acs-override=downstream"), Some(Refusal::ACS_OVERRIDDEN));
        assert_eq!(refusal("amd-iommu=off"), Some(Refusal::NO_REMAPPING));
    }

    #[test]
    fn switches_that_do_not_are_let_pass() {
        assert_eq!(
            refusal("intel_iommu=on,sm_on intremap=nopost iommu=pt intremapping=off xintremap=off"),
            None
        );
    }

    #[test]
    fn unsafe_interrupts_are_refused_and_the_remedy_undoes_them() {
        let (_root, host) = host("", Some("Y\n"));
        let reason = host.validate_modules().unwrap_err();
        assert_eq!(reason.refusal, Refusal::UNSAFE_INTERRUPTS);
        assert!(reason.remedy.starts_with("echo N >"), "{reason}");
    }

    #[test]
    fn each_switch_has_its_own_number() {
        for (file, refusal, _) in MODULES {
            let (root, host) = host("", None);
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "Y\n").unwrap();
            assert_eq!(host.validate_modules().unwrap_err().refusal, *refusal);
        }
    }

    #[test]
    fn a_switch_that_cannot_be_read_or_is_not_off_is_refused() {
        let refusal = |host: &Host| host.validate_modules().err().map(|reason| reason.refusal);
        assert_eq!(refusal(&host("", Some("y\n")).1), Some(Refusal::UNSAFE_INTERRUPTS));
        let (root, host) = host("", None);
        // A folder: there is something, but it cannot be read.
        fs::create_dir_all(root.path().join(MODULES[1].0)).unwrap();
        assert_eq!(refusal(&host), Some(Refusal::POLICY));
    }

    #[test]
    fn a_host_that_cannot_be_read_is_refused() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Host::at(root.path()).validate_command_line().unwrap_err().refusal, Refusal::POLICY);
        assert!(host("", Some("N\n")).1.validate_modules().is_ok());
    }
}
