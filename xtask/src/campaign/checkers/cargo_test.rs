//! The unit tests of a package, by module.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::tools::{LeftOut, Tool};
use crate::build::workspace::{self, target_dir};

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

    /// The modules that have tests, the outermost of each.
    pub(super) fn groups(&self) -> Result<BTreeSet<String>> {
        let output = self.cargo(&["--list"])?;
        if !output.status.success() {
            bail!("building {} for {} failed: {}", self.package, self.tool.name, end(&output));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.filter_map(|name| Some(name.split_once("::")?.0.to_owned())).collect())
    }

    pub(super) fn run(&self, group: &str, without: &[LeftOut]) -> Result<Outcome> {
        let filter = format!("{group}::");
        let mut arguments = vec![filter.as_str()];
        without.iter().for_each(|(name, _)| arguments.extend(["--skip", name]));
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
    fn passed_tests_are_counted() {
        assert_eq!(passed("test result: ok. 12 passed; 0 failed; 0 ignored"), Some(12));
        assert_eq!(passed("test result: FAILED. 3 passed; 1 failed"), Some(3));
        assert_eq!(passed("running 3 tests"), None);
    }
}
