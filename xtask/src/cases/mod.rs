//! The cases that run in the lab, one file each.
//!
//! A case says which lab it wants, runs a command there, and judges what came of it. To add one: a file with a `CASE`,
//! and a line here.

mod command;
mod failures;
mod pass_through;
mod vendors;

use command::in_lab;

use crate::test::Step;

/// All cases.
pub(crate) fn all() -> Vec<Step> {
    vec![pass_through::CASE, vendors::AMD, vendors::OFF, failures::CASE]
}
