//! The cases, by name.

mod cleanup;
mod counts;
mod guest;
mod pairs;
mod refused;
mod storm;
mod two;

use crate::Case;

/// All of them. The lab that each needs is the starter's to know.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("storm", storm::run),
    ("pairs", pairs::run),
    ("counts", counts::run),
    ("apic300", guest::apic300),
    ("refusals", guest::refusals),
    ("conformance", guest::conformance),
    ("blocked-msix", guest::blocked_by_msix),
    ("blocked-msi", guest::blocked_by_msi),
    ("conduit-port", guest::port),
    ("conduit-msr", guest::msr),
    ("conduit-vmmcall", guest::vmmcall),
    ("two-vms", two::run),
    ("used-again", cleanup::used_again),
    ("killed", cleanup::killed),
    ("no-such-device", refused::no_such_device),
    ("no-driver", refused::no_driver),
    ("other-driver", refused::other_driver),
    ("shared-group", refused::shared_group),
    ("unsafe-interrupts", refused::unsafe_interrupts),
    ("no-iommu", refused::no_iommu),
    ("no-remapping", refused::no_remapping),
    ("no-source-id", refused::no_source_id),
];

/// The case with this name.
pub(crate) fn find(name: &str) -> Option<Case> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, case)| *case)
}
