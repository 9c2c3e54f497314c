//! The cases that run in the lab and on the machine's own KVM, one file each.
//!
//! A case says which lab it wants, runs a command there, and checks what came of it. To add one: a file with a `CASE`,
//! and a line here.

mod command;
mod doctor;
mod driver;
mod failures;
mod floor;
mod isolation;
mod linux;
mod own_kvm;
mod pass_through;
mod product;
pub(crate) mod scale;
mod stores;
mod storm;
mod vendors;
mod wrong_hosts;

use command::in_lab;

use crate::runner::Test;

/// All cases.
pub(crate) fn all() -> Vec<Test> {
    let lab = [pass_through::CASE, vendors::AMD, vendors::OFF, failures::CASE, doctor::CASE];
    let batches = [
        own_kvm::CASES,
        floor::OWN_KVM,
        wrong_hosts::CASE,
        storm::INTEL,
        product::INTEL_MOVES,
        product::INTEL,
        product::INTEL_TWO,
        product::INTEL_SRIOV,
        stores::INTEL,
        floor::INTEL,
        storm::AMD,
        product::AMD_MOVES,
        product::AMD,
        product::AMD_TWO,
        product::AMD_SRIOV,
        stores::AMD,
        floor::AMD,
        product::OFF,
        product::NO_REMAP,
        product::NO_SOURCE_ID,
        isolation::ACS,
        isolation::INTREMAP_OFF,
        isolation::AMD_INTREMAP_OFF,
        isolation::BEHIND_BRIDGE,
        isolation::COMMANDS,
        isolation::COMMANDS_AMD,
        isolation::COMMANDS_OFF,
    ];
    let one = lab.into_iter().chain(linux::CASES).map(Test::One);
    one.chain(batches.into_iter().map(Test::Many)).collect()
}
