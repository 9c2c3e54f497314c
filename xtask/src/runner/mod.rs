//! `xtask test`: everything that can be tested on this machine, in a table of steps, with a last line that counts.
//!
//! A step that lacks something is skipped loudly, with the name of what is missing. A step of cargo's own tests counts
//! each of them.

mod report;
mod verdict;

pub(crate) use verdict::{Counts, Verdict, skip};

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use report::Report;

/// Run all tests, or those whose names contain one of the words.
#[derive(Args)]
pub(crate) struct Options {
    /// Parts of names of tests
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Name the tests and run none
    #[arg(long)]
    list: bool,
    /// Count a skipped test as a failed one
    #[arg(long)]
    no_skip: bool,
}

/// A thing to do, which gives one line of the table or several.
pub(crate) enum Test {
    One(Step),
    Many(Batch),
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

/// Several lines that share what is dear, such as a machine that has to boot.
pub(crate) struct Batch {
    /// Name and purpose of each, such as `intel/storm`.
    pub(crate) cases: &'static [(&'static str, &'static str)],
    /// Does those whose names it is given. An error is the failure of all that it does not answer.
    pub(crate) run: fn(&[&'static str]) -> Result<Vec<Finding>>,
}

/// What came of one case of a batch.
pub(crate) struct Finding {
    /// Its name in the batch.
    pub(crate) name: String,
    pub(crate) result: Result<Verdict>,
    pub(crate) took: Duration,
}

impl Test {
    /// Name and purpose of each line.
    pub(crate) fn titles(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::One(step) => vec![(step.name, step.about)],
            Self::Many(batch) => batch.cases.to_vec(),
        }
    }

    /// Does the lines that were chosen.
    fn run(&self, chosen: &[(&'static str, &'static str)], report: &mut Report) -> ControlFlow<()> {
        let started = Instant::now();
        match self {
            Self::One(step) => {
                report.start(step.name, step.about);
                report.end((step.name, step.about), (step.run)(), started.elapsed())
            }
            Self::Many(batch) => {
                let names: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
                report.start(&names.join(", "), "");
                let result = (batch.run)(&names);
                report.end_batch(chosen, result, started.elapsed())
            }
        }
    }
}

/// Runs what `options` chooses of `tests`; those in `long` only if they are named.
pub(crate) fn run(options: &Options, tests: &[Test], long: &[&str]) -> ExitCode {
    let mut report = Report::default();
    let mut any = false;
    for test in tests {
        let mut chosen = test.titles();
        chosen.retain(|(name, _)| {
            options.list && options.words.is_empty() || is_chosen(name, &options.words, long)
        });
        if chosen.is_empty() {
            continue;
        }
        any = true;
        if options.list {
            for (name, about) in &chosen {
                println!("{name:<24} {about}");
            }
        } else if test.run(&chosen, &mut report).is_break() {
            return ExitCode::from(130);
        }
    }
    match (any, options.list) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => {
            if options.words.is_empty() {
                println!("left out, as it takes minutes: {} (name it to run it)", long.join(", "));
            }
            report.finish(options.no_skip)
        }
        (false, _) => {
            eprintln!("no test's name contains {}; help: --list names them all", options.words.join(" or "));
            ExitCode::FAILURE
        }
    }
}

fn is_chosen(name: &str, words: &[String], long: &[&str]) -> bool {
    if words.is_empty() {
        return !long.contains(&name);
    }
    words.iter().any(|word| name.contains(word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_chosen_by_any_part_of_its_name() {
        let long = ["amd/floor"];
        assert!(is_chosen("lab/pass-through", &[], &long));
        assert!(!is_chosen("amd/floor", &[], &long) && is_chosen("amd/floor", &["amd/floor".into()], &long));
        assert!(is_chosen("lab/pass-through", &["x".into(), "pass".into()], &long));
        assert!(!is_chosen("lab/pass-through", &["x".into()], &long));
    }
}
