//! Known defects of Linux in the path of an interrupt, each under its CVE record.
//!
//! A defect that the service's order of operations never triggers is reported, and no device is refused for it.
//! Distributions fix kernels without a new version number, and nearly every kernel in use is in one of the ranges
//! below. A defect that the order of operations does trigger is a reason to refuse devices.

use super::NotIsolated;
use super::{Host, Posting};
use pvir_abi::{DeviceId, Refusal};
use std::fmt;
use std::fs;

/// A release of Linux: major, minor and patch number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Release(pub u16, pub u16, pub u16);

impl Release {
    /// Parses a release in the form of `/proc/sys/kernel/osrelease`, for example `6.12.95+deb12-amd64`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        // 6.19-rc1 has no third number.
        Some(Self(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// How the service deals with a defect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DefectPolicy {
    /// The service never triggers it, for this reason.
    Avoided(&'static str),
    /// The service triggers it where interrupts are posted. Devices are refused there.
    RefusedWherePosted,
}

/// A known defect of Linux.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Defect {
    /// The CVE record that describes it.
    pub record: &'static str,
    /// What happens where it is triggered, as a phrase for reports.
    pub what: &'static str,
    /// The first release that has it.
    since: Release,
    /// The first releases that are fixed: one for each stable branch, and last the one of the mainline.
    mended: &'static [Release],
    /// How the service deals with it.
    pub policy: DefectPolicy,
}

/// From the records themselves (cve.org, CNA kernel.org), where they name releases.
const DEFECTS: &[Defect] = &[
    Defect {
        record: "CVE-2017-1000252",
        what: "VMX: an irqfd whose GSI has no route ends in a panic at the next change of routes",
        since: Release(4, 4, 0),
        mended: &[Release(4, 14, 0)],
        policy: DefectPolicy::Avoided(
            "GSIs are below 4096, and a GSI has its route before an interrupt meets its irqfd, and until that is gone",
        ),
    },
    Defect {
        record: "CVE-2022-49154",
        what: "SVM: an irqfd whose GSI has no route ends in a panic at the next change of routes",
        since: Release(4, 9, 0),
        mended: &[
            Release(5, 10, 110),
            Release(5, 15, 33),
            Release(5, 16, 19),
            Release(5, 17, 2),
            Release(5, 18, 0),
        ],
        policy: DefectPolicy::Avoided(
            "GSIs are below 4096, and a GSI has its route before an interrupt meets its irqfd, and until that is gone",
        ),
    },
    Defect {
        record: "CVE-2025-37885",
        what: "a posted interrupt stays posted to its old vCPU if its new route cannot be posted",
        since: Release(4, 4, 0),
        mended: &[
            Release(5, 10, 237),
            Release(5, 15, 181),
            Release(6, 1, 136),
            Release(6, 6, 89),
            Release(6, 12, 26),
            Release(6, 14, 5),
            Release(6, 15, 0),
        ],
        policy: DefectPolicy::Avoided(
            "a route is always a message to one vCPU, which can be posted, and the device's interrupt is given back \
             before its route",
        ),
    },
    Defect {
        record: "CVE-2026-23198",
        what: "an irqfd that is taken off while routes change keeps its old route",
        since: Release(4, 4, 0),
        mended: &[
            Release(5, 10, 250),
            Release(5, 15, 200),
            Release(6, 1, 163),
            Release(6, 6, 124),
            Release(6, 12, 70),
            Release(6, 18, 10),
            Release(6, 19, 0),
        ],
        policy: DefectPolicy::Avoided(
            "one lock per VM covers routes, irqfds and the device's interrupts, and an entry that is given back loses \
             its interrupt before its irqfd",
        ),
    },
    // The same record, met without a race. Since 6.17 KVM asks the route's type before it ends posting
    // (arch/x86/kvm/irq.c, kvm_arch_irq_bypass_del_producer), and the irqfd was taken off with that type wiped. An entry
    // that is parked loses its irqfd while its interrupt goes on: it stays posted, on AMD in a list that is freed.
    Defect {
        record: "CVE-2026-23198 (parking)",
        what: "a posted interrupt whose irqfd is taken off stays posted; on AMD the host's kernel dies of it",
        since: Release(6, 17, 0),
        mended: &[Release(6, 18, 10), Release(6, 19, 0)],
        policy: DefectPolicy::RefusedWherePosted,
    },
];

impl Defect {
    /// Whether a release has the defect, judging by its version number alone.
    #[must_use]
    pub fn is_in(&self, release: Release) -> bool {
        let Release(major, minor, _) = release;
        let mended_in = |first: &Release| (first.0, first.1) == (major, minor) && release >= *first;
        let mainline = self.mended.last().is_some_and(|first| release >= *first);
        release >= self.since && !mainline && !self.mended.iter().any(mended_in)
    }
}

impl Host {
    /// The release of the running kernel; `None` if `/proc/sys/kernel/osrelease` cannot be read.
    #[must_use]
    pub fn release(&self) -> Option<Release> {
        Release::parse(&fs::read_to_string(self.path("proc/sys/kernel/osrelease")).ok()?)
    }

    /// The known defects that the running kernel's release has.
    #[must_use]
    pub fn defects(&self) -> Vec<Defect> {
        let Some(release) = self.release() else { return Vec::new() };
        DEFECTS.iter().filter(|defect| defect.is_in(release)).copied().collect()
    }

    pub(super) fn validate_kernel(&self, _: DeviceId, _: &[DeviceId]) -> Result<(), NotIsolated> {
        let posting = self.posting();
        let refused =
            |defect: &Defect| defect.policy == DefectPolicy::RefusedWherePosted && posting != Posting::Off;
        match (self.release(), self.defects().into_iter().find(refused)) {
            (Some(release), Some(defect)) => Err(NotIsolated {
                refusal: Refusal::KERNEL_DEFECT,
                what: format!("Linux {release} has the defect {}: {}", defect.record, defect.what),
                remedy: format!(
                    "use Linux {} or newer, or switch the posting of interrupts off: they come by the host's kernel then \
                     (enable_device_posted_irqs=0 for the module kvm_intel or kvm_amd)",
                    defect.mended.first().copied().unwrap_or(release)
                ),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, id};
    use super::*;

    fn found(release: &str) -> Vec<&'static str> {
        let fixture = Fixture::new();
        fixture.write("proc/sys/kernel/osrelease", release);
        fixture.host.defects().iter().map(|defect| defect.record).collect()
    }

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        for (text, release) in [
            ("6.12.95+deb12-amd64\n", Release(6, 12, 95)),
            ("6.18.44-fc-v657", Release(6, 18, 44)),
            ("5.14.0-570.el9.x86_64", Release(5, 14, 0)),
            ("6.19-rc1", Release(6, 19, 0)),
            ("6.8.0-1010-aws", Release(6, 8, 0)),
        ] {
            assert_eq!(Release::parse(text), Some(release), "{text}");
        }
        assert_eq!(Release::parse("linux"), None);
    }

    #[test]
    fn a_mended_branch_is_told_from_one_that_is_not() {
        assert_eq!(found("6.12.95"), [""; 0]);
        assert_eq!(found("6.12.69"), ["CVE-2026-23198"]);
        assert_eq!(found("6.12.25"), ["CVE-2025-37885", "CVE-2026-23198"]);
        assert_eq!(found("6.13.12"), ["CVE-2025-37885", "CVE-2026-23198"], "a branch that was never mended");
        assert_eq!(found("6.18.9"), ["CVE-2026-23198", "CVE-2026-23198 (parking)"]);
        assert_eq!(found("6.18.10"), [""; 0]);
        assert_eq!(found("7.0.0"), [""; 0]);
        assert_eq!(found("4.13.3").len(), 4);
        assert_eq!(found("4.3.0"), [""; 0]);
    }

    #[test]
    fn only_what_the_order_of_operations_meets_is_refused() {
        let refusal = |release: &str, avic: Option<&str>| {
            let fixture = Fixture::new();
            fixture.write("proc/sys/kernel/osrelease", release);
            if let Some(avic) = avic {
                fixture.write("sys/module/kvm_amd/parameters/avic", avic);
            }
            fixture.host.validate_kernel(id(5), &[]).err().map(|reason| reason.refusal)
        };
        assert_eq!(refusal("6.17.3", Some("Y\n")), Some(Refusal::KERNEL_DEFECT));
        assert_eq!(refusal("6.17.3", Some("N\n")), None);
        assert_eq!(refusal("6.17.3", None), None);
        for release in ["4.13.3", "6.1.0", "6.12.20", "6.16.0", "6.18.10", "6.19.0"] {
            assert_eq!(refusal(release, Some("Y\n")), None, "{release}");
        }
    }

    #[test]
    fn every_record_ends_with_the_mainline() {
        for defect in DEFECTS {
            assert!(defect.mended.is_sorted() && defect.mended.last().is_some_and(|release| release.2 == 0));
            assert!(defect.is_in(defect.since), "{}", defect.record);
        }
    }
}
