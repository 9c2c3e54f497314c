//! Runs tests and counts them: a table of steps, with a last line that counts.
//!
//! A step that lacks something is skipped loudly, with the name of what is missing. A step of cargo's own tests counts
//! each of them. As many tests run at once as there are processors: most of them keep one busy.

mod report;
mod schedule;
mod verdict;

pub(crate) use verdict::{Counts, Verdict, skip};

use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

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
    /// Tests at once [default: one for each processor, 4 at most]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

/// Each nested machine takes memory, and what all wait for is not done sooner by more lanes.
const MAX_JOBS: usize = 4;

/// A thing to do, which gives one line of the table or several.
pub(crate) enum Test {
    One(Step),
    /// One after the other, since they share what only one at a time can use, such as a build folder.
    InTurn(Vec<Step>),
    Many(Batch),
}

/// Name and purpose of a line of the table.
pub(crate) type Title = (&'static str, &'static str);

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
    pub(crate) cases: &'static [Title],
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

impl Step {
    fn title(&self) -> Title {
        (self.name, self.about)
    }
}

impl Test {
    /// Name and purpose of each line.
    pub(crate) fn titles(&self) -> Vec<Title> {
        match self {
            Self::One(step) => vec![step.title()],
            Self::InTurn(steps) => steps.iter().map(Step::title).collect(),
            Self::Many(batch) => batch.cases.to_vec(),
        }
    }
}

/// Runs what `options` chooses of `tests`; those in `long` only if they are named. `remark` is shown with the counts.
pub(crate) fn run(
    options: &Options,
    tests: &[Test],
    long: &[&str],
    remark: fn() -> Option<String>,
) -> ExitCode {
    let all = options.list && options.words.is_empty();
    let chosen = |test: &Test| -> Vec<Title> {
        let titles = test.titles().into_iter();
        titles.filter(|(name, _)| all || is_chosen(name, &options.words, long)).collect()
    };
    let chosen: Vec<(&Test, Vec<Title>)> = tests.iter().map(|test| (test, chosen(test))).collect();
    let chosen: Vec<_> = chosen.into_iter().filter(|(_, titles)| !titles.is_empty()).collect();
    if chosen.is_empty() {
        eprintln!("no test's name contains {}; help: --list names them all", options.words.join(" or "));
        return ExitCode::FAILURE;
    }
    if options.list {
        for (name, about) in chosen.iter().flat_map(|(_, titles)| titles) {
            println!("{name:<24} {about}");
        }
        return ExitCode::SUCCESS;
    }
    let jobs = match options.jobs {
        Some(jobs) => jobs.get(),
        None => available_parallelism().map_or(1, NonZero::get).min(MAX_JOBS),
    };
    let Some(report) = schedule::run(&chosen, jobs) else { return ExitCode::from(130) };
    if options.words.is_empty() {
        println!("left out, as it takes minutes: {} (name it to run it)", long.join(", "));
    }
    if let Some(remark) = remark() {
        println!("{remark}");
    }
    report.finish(options.no_skip)
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
