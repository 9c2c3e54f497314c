//! The unit tests of a package, by module.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::tools::{LeftOut, Tool};
use crate::build::workspace::{self, target_dir};

/// Tests of a part, if a module of it has no more: some take minutes under these tools.
const MOST: usize = 80;
/// Lines of a failure that are shown.
const SHOWN: usize = 60;

/// Unit tests of a package as a tool runs them.
pub(super) struct Tests<'t> {
    tool: &'t Tool,
    package: &'static str,
}

/// What came of a run.
pub(super) struct Outcome {
    pub(super) passed: u32,
    /// What was found, with the end of what was said.
    pub(super) what: Option<String>,
}

impl<'t> Tests<'t> {
    pub(super) fn new(tool: &'t Tool, package: &'static str) -> Self {
        Self { tool, package }
    }

    /// The tests by module, without those that are left out.
    pub(super) fn groups(&self, without: &[LeftOut]) -> Result<BTreeMap<String, Vec<String>>> {
        let output = self.cargo(&["--list"])?;
        if !output.status.success() {
            bail!("building {} for {} failed: {}", self.package, self.tool.name, end(&output));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        let given = names.filter(|name| !without.iter().any(|(left_out, _)| name.contains(left_out)));
        Ok(by_module(given.map(str::to_owned).collect(), 1))
    }

    pub(super) fn run(&self, tests: &[String]) -> Result<Outcome> {
        let mut arguments = vec!["--exact"];
        arguments.extend(tests.iter().map(String::as_str));
        let output = self.cargo(&arguments)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let passed = said.lines().filter_map(passed).sum();
        let what = (!output.status.success()).then(|| format!("{}\n{}", output.status, end(&output)));
        Ok(Outcome { passed, what })
    }

    fn cargo(&self, of_tests: &[&str]) -> Result<Output> {
        let Tool { name, nightly, arguments, environment, .. } = self.tool;
        let mut command = if *nightly {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", "nightly", "cargo"]).current_dir(workspace::root());
            // The cargo that started this program has set them for its own toolchain.
            rustup.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
            rustup
        } else {
            workspace::cargo()
        };
        command.args(*arguments).args(["--quiet", "--package", self.package, "--lib", "--"]).args(of_tests);
        command.env("CARGO_TARGET_DIR", target_dir("checkers").join(name)).envs(environment.iter().copied());
        command.stdin(Stdio::null()).output().context("cannot start cargo")
    }
}

/// Tests by the module so many levels down; by the next level where these are too many for one part.
fn by_module(tests: Vec<String>, level: usize) -> BTreeMap<String, Vec<String>> {
    let modules = |test: &str| test.matches("::").count();
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for test in tests {
        let kept = level.min(modules(&test));
        let module = test.split("::").take(kept).collect::<Vec<_>>().join("::");
        groups.entry(module).or_default().push(test);
    }
    let split = |(module, tests): (String, Vec<String>)| {
        let is_deeper = tests.iter().any(|test| modules(test) > level);
        if tests.len() > MOST && is_deeper {
            by_module(tests, level + 1)
        } else {
            BTreeMap::from([(module, tests)])
        }
    };
    groups.into_iter().flat_map(split).collect()
}

/// The number in a line such as `test result: ok. 12 passed; 0 failed; ...`.
fn passed(line: &str) -> Option<u32> {
    let (before, _) = line.strip_prefix("test result: ")?.split_once(" passed")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// The end of what a program has said, on both streams.
fn end(output: &Output) -> String {
    let text =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n");
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_modules_are_split_and_no_test_is_lost() {
        let many = |module: &str, count: usize| (0..count).map(move |n| format!("{module}::t{n}")).collect();
        let all: Vec<Vec<String>> =
            vec![many("a", MOST), many("b::c", MOST), many("b::d::e", 2), many("b", 1), many("f", MOST + 1)];
        let groups = by_module(all.concat(), 1);
        let counts: Vec<_> = groups.iter().map(|(module, tests)| (module.as_str(), tests.len())).collect();
        assert_eq!(counts, [("a", MOST), ("b", 1), ("b::c", MOST), ("b::d", 2), ("f", MOST + 1)]);
    }

    #[test]
    fn passed_tests_are_counted() {
        assert_eq!(passed("test result: ok. 12 passed; 0 failed; 0 ignored"), Some(12));
        assert_eq!(passed("test result: FAILED. 3 passed; 1 failed"), Some(3));
        assert_eq!(passed("running 3 tests"), None);
    }
}
