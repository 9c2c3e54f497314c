//! What cases share: running a command in a lab with its output caught, and looking at that.

use std::ffi::OsString;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::{self, NotUp, Options, Outcome, Streams};

/// What came of a command.
pub(crate) struct Output {
    /// Its exit status; none if the user interrupted us.
    pub(crate) status: Option<u8>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Runs `argv` in a lab, with `input`. An error is one of the lab, not of the command. A lab that does not come up, and so
/// has begun nothing, is started once more.
pub(crate) fn in_lab(options: &Options, argv: &[&str], input: &[u8]) -> Result<Output> {
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    let (streams, mut stdout, mut stderr) = Streams::captured(input);
    let mut outcome = lab::run(options, &argv, streams);
    if let Some(error) = outcome.as_ref().err().filter(|error| error.is::<NotUp>()) {
        eprintln!("the lab is started once more: {error:#}");
        let again = Streams::captured(input);
        (stdout, stderr) = (again.1, again.2);
        outcome = lab::run(options, &argv, again.0);
    }
    let status = match outcome? {
        Outcome::Ended(status) => Some(status),
        Outcome::Interrupted(_) => None,
    };
    Ok(Output { status, stdout: stdout.take(), stderr: stderr.take() })
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
