//! Bugs of the past, brought back into our own source one at a time: each must fail the test that is named with it.
//!
//! A test that passes with and without the code that it is about shows nothing. Each bug is one change of a text in one
//! file, made in a copy of the tree. The gate is a unit test: that each change still applies, and its test still exists.

mod list;
mod tree;

use std::fs;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Campaign;
use super::report::Report;
use crate::build::workspace::{cargo, target_dir};
use tree::Tree;

pub(super) const CAMPAIGN: Campaign = Campaign {
    name: "bugs",
    about: "bugs of the past, brought back into the source one at a time: each fails the unit test that is named",
    run,
};

/// A bug, and the test that finds it.
struct Bug {
    name: &'static str,
    /// Where it was: a CVE, an advisory, an issue, a commit.
    record: &'static str,
    /// What is wrong then.
    about: &'static str,
    change: Replacement,
    /// The package, one of the unit tests of which must fail.
    package: &'static str,
    /// The unit test, with its path in the package.
    test: &'static str,
}

/// A text of a file, and what stands there in its place.
struct Replacement {
    /// From the root of the tree.
    file: &'static str,
    /// It is there exactly once.
    from: &'static str,
    to: &'static str,
}

impl Replacement {
    /// The text of the file with the bug in it.
    fn apply(&self, text: &str) -> Result<String> {
        let count = text.matches(self.from).count();
        if count != 1 {
            bail!("{} has this {count} times, not once: {:?}", self.file, self.from);
        }
        Ok(text.replacen(self.from, self.to, 1))
    }
}

/// All of them; the time is not asked for, since each takes one build.
fn run(report: &mut Report, _: Duration) -> Result<()> {
    report.head = ["bug", "record", "what is wrong", "the test that fails", "s"].map(str::to_owned).into();
    let tree = Tree::copy()?;
    let mut missed = Vec::new();
    for bug in list::BUGS {
        if report.has_done(bug.name) {
            continue;
        }
        let started = Instant::now();
        let found = is_found(bug, &tree).with_context(|| bug.name)?;
        let test = if found { format!("`{}`", bug.test) } else { format!("**none**: `{}` passes", bug.test) };
        let seconds = started.elapsed().as_secs();
        let row = format!("| {} | {} | {} | {test} | {seconds} |", bug.name, bug.record, bug.about);
        report.add(bug.name, &row, found)?;
        if !found {
            missed.push(bug.name);
        }
    }
    report.note(format!("{} of {} found.", list::BUGS.len() - missed.len(), list::BUGS.len()));
    if !missed.is_empty() {
        bail!("no test fails with {}", missed.join(", "));
    }
    Ok(())
}

/// Whether the test of a bug fails with it. What does not build is an error: such a bug shows nothing.
fn is_found(bug: &Bug, tree: &Tree) -> Result<bool> {
    let file = tree.root().join(bug.change.file);
    let right = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    fs::write(&file, bug.change.apply(&right)?)?;
    let output = test(bug, tree);
    fs::write(&file, right)?;
    let output = output?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = |outcome: &str| format!("test {} ... {outcome}", bug.test);
    match (said.contains(&line("FAILED")), said.contains(&line("ok"))) {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        _ => bail!("{} was not run:\n{said}\n{}", bug.test, String::from_utf8_lossy(&output.stderr)),
    }
}

fn test(bug: &Bug, tree: &Tree) -> Result<Output> {
    let mut command = cargo();
    command.current_dir(tree.root()).env("CARGO_TARGET_DIR", target_dir("bugs"));
    // One file is another each time.
    command.env("CARGO_INCREMENTAL", "1");
    command.args([
        "test",
        "--quiet",
        "--package",
        bug.package,
        "--lib",
        "--",
        "--exact",
        bug.test,
        "--format=pretty",
    ]);
    command.stdin(Stdio::null()).output().context("cannot start cargo")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::workspace;

    #[test]
    fn each_bug_can_still_be_brought_back() {
        for Bug { name, change, .. } in list::BUGS {
            let text = fs::read_to_string(workspace::root().join(change.file)).unwrap();
            let changed = change.apply(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_ne!(text, changed, "{name}");
        }
    }

    #[test]
    fn each_bug_has_a_test_that_exists() {
        let folder = |package| match package {
            "pvir-guest" => "guest/src",
            _ => "host/src",
        };
        for Bug { name, package, test, .. } in list::BUGS {
            let (path, function) = test.rsplit_once("::").unwrap();
            let path = path.strip_suffix("::tests").unwrap_or(path).replace("::", "/");
            let base = workspace::root().join(folder(*package));
            let files = ["", "/mod", "/tests"].map(|end| base.join(format!("{path}{end}.rs")));
            let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
            let has = texts.into_iter().any(|text| text.contains(&format!("fn {function}()")));
            assert!(has, "{name}: {package} has no test {test}");
        }
    }

    #[test]
    fn there_are_enough_and_each_has_a_name_of_its_own() {
        let mut names: Vec<_> = list::BUGS.iter().map(|bug| bug.name).collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() == list::BUGS.len() && names.len() >= 15, "{names:?}");
    }

    #[test]
    fn a_text_that_is_not_there_once_is_refused() {
        let change = Replacement { file: "f", from: "a", to: "b" };
        assert_eq!(change.apply("xay").unwrap(), "xby");
        assert!(change.apply("xy").is_err() && change.apply("aa").is_err());
    }
}
