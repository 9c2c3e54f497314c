//! `xtask test`: everything that can be tested on this machine, in a table of steps, with a last line that counts.
//!
//! A step that lacks something is skipped loudly, with the name of what is missing. A step of cargo's own tests counts
//! each of them.

mod cargo;
mod report;
mod verdict;

pub(crate) use verdict::{Verdict, skip};

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::cases;
use report::Report;

/// Run all tests, or those whose names contain one of the words.
#[derive(Args)]
pub(crate) struct Options {
    /// Parts of names of steps
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Name the steps and run none
    #[arg(long)]
    list: bool,
    /// Count a skipped step as a failed one
    #[arg(long)]
    no_skip: bool,
}

/// One line of the table.
pub(crate) struct Step {
    /// Group and name, such as `lab/pass-through`.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) about: &'static str,
    /// Does it. An error is a failure.
    pub(crate) run: fn() -> Result<Verdict>,
}

/// All steps, the fast ones first.
fn steps() -> Vec<Step> {
    let mut steps = cargo::steps();
    steps.extend(cases::all());
    steps
}

/// Runs the steps that `options` chooses.
pub(crate) fn run(options: &Options) -> ExitCode {
    let chosen: Vec<Step> = steps().into_iter().filter(|step| is_chosen(step.name, &options.words)).collect();
    if options.list {
        for step in &chosen {
            println!("{:<24} {}", step.name, step.about);
        }
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        eprintln!("no step's name contains {}; help: --list names them all", options.words.join(" or "));
        return ExitCode::FAILURE;
    }
    let mut report = Report::default();
    for step in &chosen {
        report.start(step);
        let started = Instant::now();
        let result = (step.run)();
        if report.end(step, result, started.elapsed()).is_break() {
            return ExitCode::from(130);
        }
    }
    report.finish(options.no_skip)
}

fn is_chosen(name: &str, words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_steps_are_unique() {
        let mut names: Vec<&str> = steps().iter().map(|step| step.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_step_is_chosen_by_any_part_of_its_name() {
        assert!(is_chosen("lab/pass-through", &[]));
        assert!(is_chosen("lab/pass-through", &["x".into(), "pass".into()]));
        assert!(!is_chosen("lab/pass-through", &["x".into()]));
    }
}
