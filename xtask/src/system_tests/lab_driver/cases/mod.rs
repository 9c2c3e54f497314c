//! The cases, by name.

mod cdev;
mod cleanup;
mod commands;
mod conduits;
mod counts;
mod floor;
mod foreign;
mod guest;
mod hostile;
mod ims;
mod kernel_messages;
mod lives;
mod multi;
mod pairs;
mod paths;
mod plug;
mod refused;
mod resets;
mod routes;
mod saves;
mod several;
mod sriov;
mod storm;
mod tally;
mod trapped;
mod two;

use crate::Case;

/// All of them. The lab that each needs is the starter's to know.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("storm", storm::run),
    ("ims", ims::in_queues),
    ("ims-table", ims::in_table),
    ("multi", multi::run),
    ("routings", paths::routings),
    ("dynamic", paths::dynamic),
    ("takeover", paths::takeover),
    ("pairs", pairs::run),
    ("kernel-messages", kernel_messages::run),
    ("counts", counts::run),
    ("floor", floor::in_lab),
    ("floor-own-kvm", floor::on_own_kvm),
    ("routes", routes::run),
    ("apic300", guest::apic300),
    ("refusals", guest::refusals),
    ("conformance", guest::conformance),
    ("events", guest::events),
    ("attach", lives::attach_passed_through),
    ("attach-own-kvm", lives::attach_emulated),
    ("sessions", lives::sessions_passed_through),
    ("sessions-own-kvm", lives::sessions_emulated),
    ("resets", lives::resets_passed_through),
    ("resets-own-kvm", lives::resets_emulated),
    ("reset-by-host", resets::by_host),
    ("decode", resets::decode),
    ("storm-limit", guest::storm_limit),
    ("host-vectors", guest::host_vectors),
    ("conformance-others", guest::conformance_of_each),
    ("hostile", hostile::run),
    ("blocked-msix", guest::blocked_by_msix),
    ("blocked-msi", guest::blocked_by_msi),
    ("conduit-port", guest::port),
    ("conduit-msr", guest::msr),
    ("conduit-vmmcall", guest::vmmcall),
    ("conduits", conduits::run),
    ("foreign", foreign::run_all),
    ("foreign-another", foreign::another),
    ("cdev-ways", cdev::ways),
    ("cdev-group", several::group),
    ("cdev-not-permitted", cdev::not_permitted),
    ("cdev-foreign", cdev::foreign),
    ("cdev-beside-groups", cdev::beside_groups),
    ("cdev-no-remapping", cdev::no_remapping),
    ("cdev-unsafe-interrupts", cdev::unsafe_interrupts),
    ("cdev-counts", counts::run),
    ("cdev-several", several::together),
    ("cdev-trapped", trapped::auto),
    ("cdev-resets", lives::resets_passed_through),
    ("cdev-wanted-back", cleanup::wanted_back),
    ("cdev-conformance", guest::conformance),
    ("several", several::together),
    ("group", several::group),
    ("quotas", several::quotas),
    ("sriov", sriov::run),
    ("two-vms", two::run),
    ("trapped", trapped::auto),
    ("trap-mode", trapped::unoffered),
    ("attack-across", two::attack),
    ("used-again", cleanup::used_again),
    ("killed", cleanup::killed),
    ("wanted-back", cleanup::wanted_back),
    ("failed-device", cleanup::failed),
    ("plug-own-kvm", plug::emulated),
    ("plug", plug::passed_through),
    ("cdev-plug", plug::by_own_file),
    ("saves", saves::run),
    ("saves-started-again", saves::started_again),
    ("reboots", lives::reboots_passed_through),
    ("reboots-own-kvm", lives::reboots_emulated),
    ("no-such-device", refused::no_such_device),
    ("no-driver", refused::no_driver),
    ("other-driver", refused::other_driver),
    ("shared-group", refused::shared_group),
    ("unsafe-interrupts", refused::unsafe_interrupts),
    ("no-iommu", refused::no_iommu),
    ("no-remapping", refused::no_remapping),
    ("no-source-id", refused::no_source_id),
    ("acs-override", refused::acs_override),
    ("remapping-switched-off", refused::remapping_switched_off),
    ("behind-bridge", refused::behind_bridge),
    ("doctor", commands::doctor),
    ("doctor-without-iommu", commands::doctor_without_iommu),
    ("devices", commands::devices),
    ("bind-and-unbind", commands::bind_and_unbind),
    ("bind-refused", commands::bind_refused),
    ("unbind-refused", commands::unbind_refused),
];

/// The case with this name.
pub(crate) fn find(name: &str) -> Option<Case> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, case)| *case)
}
