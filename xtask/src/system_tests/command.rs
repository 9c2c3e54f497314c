//! What cases share: running a command in a lab with its output caught, and looking at that.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::{self, MachineLost, Options, Outcome, Streams};

/// What came of a command.
pub(crate) struct Output {
    /// Its exit status; none if the user interrupted us.
    pub(crate) status: Option<u8>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// One run of a command in a lab.
pub(super) struct Attempt {
    pub(super) output: Output,
    /// Why it did not come to its end, where that is no fault of the command.
    pub(super) lost: Option<MachineLost>,
}

/// Runs `argv` in a lab, with `input`. An error is one of the lab, not of the command.
pub(super) fn attempt(options: &Options, argv: &[&str], input: &[u8]) -> Result<Attempt> {
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    let (streams, stdout, stderr) = Streams::captured(input);
    let (status, lost) = match lab::run(options, &argv, streams) {
        Ok(Outcome::Ended(status)) => (Some(status), None),
        Ok(Outcome::Interrupted(_)) => (None, None),
        Err(error) => (None, Some(error.downcast::<MachineLost>()?)),
    };
    Ok(Attempt { output: Output { status, stdout: stdout.take(), stderr: stderr.take() }, lost })
}

/// The same, started once more if its machine is lost.
pub(crate) fn in_lab(options: &Options, argv: &[&str], input: &[u8]) -> Result<Output> {
    let first = attempt(options, argv, input)?;
    let Some(lost) = first.lost else { return Ok(first.output) };
    lab::starts_again(&argv.join(" "), &lost);
    let second = attempt(options, argv, input)?;
    match second.lost {
        None => {
            lab::is_made_up_for();
            Ok(second.output)
        }
        Some(lost) => Err(lost).context("for the second time"),
    }
}

impl Output {
    /// Fails, showing what the command wrote, unless it ended with this status.
    pub(crate) fn expect_status(&self, expected: u8) -> Result<()> {
        if self.status != Some(expected) {
            bail!("exit status {:?} in place of {expected}; {}", self.status, self.said());
        }
        Ok(())
    }

    /// What the command wrote, for messages.
    pub(crate) fn said(&self) -> String {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        format!("stdout:\n{}\nstderr:\n{}", text(&self.stdout), text(&self.stderr))
    }

    /// Every line of standard output that is a JSON object.
    pub(crate) fn json_lines(&self) -> Result<Vec<Value>> {
        let text = std::str::from_utf8(&self.stdout).context("the output is not UTF-8")?;
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
    }
}
