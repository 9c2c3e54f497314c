//! The cases that run in the lab, one file each.
//!
//! A case says which lab it wants, runs a command there, and judges what came of it. To add one: a file with a `CASE`,
//! and a line here.

mod command;
mod driver;
mod failures;
mod own_kvm;
mod pass_through;
mod product;
mod storm;
mod vendors;
mod wrong_hosts;

use command::in_lab;

use crate::test::Test;

/// All cases.
pub(crate) fn all() -> Vec<Test> {
    let lab = [pass_through::CASE, vendors::AMD, vendors::OFF, failures::CASE];
    let batches = [
        own_kvm::CASES,
        wrong_hosts::CASE,
        storm::INTEL,
        product::INTEL,
        product::INTEL_TWO,
        storm::AMD,
        product::AMD,
        product::OFF,
        product::NO_REMAP,
        product::NO_SOURCE_ID,
    ];
    lab.into_iter().map(Test::One).chain(batches.into_iter().map(Test::Many)).collect()
}
