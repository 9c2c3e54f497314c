//! The cases that run in the lab and on the machine's own KVM, one file each.
//!
//! A case says which lab it wants, runs a command there, and checks what came of it. To add one: a file with a `CASE`,
//! and a line here.

mod cdev;
mod command;
mod doctor;
mod driver;
mod embedded;
mod failures;
mod floor;
mod foreign;
mod hobby_kernel;
mod isolation;
mod kernels;
pub(crate) mod linux;
pub(crate) mod lives;
pub(crate) mod long;
mod own_kvm;
mod pass_through;
mod plugs;
mod product;
mod right_hosts;
pub(crate) mod saves;
pub(crate) mod scale;
mod stores;
mod storm;
mod vendors;
mod wrong_hosts;

use command::in_lab;

use crate::runner::Test;

/// All cases.
pub(crate) fn all() -> Vec<Test> {
    // whether there is a lab at all comes first, then what takes longest
    let long = [
        product::INTEL,
        floor::INTEL,
        own_kvm::CASES,
        right_hosts::CASE,
        wrong_hosts::CASE,
        product::AMD,
        floor::OWN_KVM,
        lives::OWN_KVM,
        plugs::OWN_KVM,
        saves::OWN_KVM,
        floor::AMD,
        embedded::INTEL,
        embedded::OWN_KVM,
        embedded::SMALL,
    ];
    let short = [
        storm::INTEL,
        storm::AMD,
        stores::INTEL,
        stores::AMD,
        foreign::INTEL,
        foreign::AMD,
        cdev::INTEL,
        cdev::AMD,
        cdev::INTEL_BESIDE,
        cdev::AMD_BESIDE,
        cdev::NO_REMAP,
        wrong_hosts::INTEL,
        product::INTEL_SRIOV,
        product::INTEL_OTHERS,
        product::INTEL_VECTORS,
        product::AMD_SRIOV,
        product::AMD_VECTORS,
        product::INTEL_TWO,
        product::AMD_TWO,
        product::INTEL_MOVES,
        product::AMD_MOVES,
        isolation::COMMANDS,
        isolation::COMMANDS_AMD,
        isolation::COMMANDS_OFF,
        product::OFF,
        product::NO_REMAP,
        product::NO_SOURCE_ID,
        isolation::ACS,
        isolation::INTREMAP_OFF,
        isolation::AMD_INTREMAP_OFF,
        isolation::BEHIND_BRIDGE,
        kernels::INTEL_NEW,
        kernels::AMD_NEW,
        kernels::INTEL_NEW_MOVES,
        kernels::AMD_NEW_MOVES,
        kernels::INTEL_PATCHED,
        kernels::AMD_PATCHED,
        kernels::INTEL_FORWARDING,
        kernels::AMD_FORWARDING,
    ];
    let lab =
        [doctor::CASE, hobby_kernel::CASE, failures::CASE, vendors::AMD, vendors::OFF, kernels::IOMMUFD];
    let mut tests = vec![Test::One(pass_through::CASE)];
    tests.extend(long.into_iter().map(Test::Many));
    tests.extend(linux::CASES.into_iter().map(Test::One));
    tests.extend(short.into_iter().map(Test::Many));
    tests.extend(lab.into_iter().map(Test::One));
    tests
}
