//! Runs cases of `lab-driver`, several in one machine.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::command::{Output, attempt};
use crate::build::Programs;
use crate::lab::{self, MachineLost, Options};
use crate::runner::{Finding, Verdict};

/// A finding, and what the driver leaves to be checked here.
pub(super) struct Driven {
    pub(super) finding: Finding,
    pub(super) data: Value,
}

/// Runs the cases with these names, of the form `group/case`. If the machine is lost, the cases that it has not answered
/// are run in another one, once: what has failed stays failed.
pub(super) fn drive(options: &Options, names: &[&str]) -> Result<Vec<Driven>> {
    let (mut driven, lost) = drive_once(options, names)?;
    let left = &names[driven.len()..];
    // Of one that is lost behind its last answer nothing more is wanted.
    let Some(lost) = lost.filter(|_| !left.is_empty()) else { return Ok(driven) };
    lab::starts_again(&left.join(", "), &lost);
    let (others, lost) = drive_once(options, left)?;
    driven.extend(others);
    let Some(lost) = lost else {
        lab::is_made_up_for();
        return Ok(driven);
    };
    let error = anyhow::Error::new(lost).context("for the second time");
    let silent = names[driven.len()..].iter();
    driven.extend(silent.map(|name| unanswered(name, Err(anyhow!("{error:#}")))).collect::<Vec<_>>());
    Ok(driven)
}

/// What was answered, of the first of these names.
fn drive_once(options: &Options, names: &[&str]) -> Result<(Vec<Driven>, Option<MachineLost>)> {
    let mut argv = vec!["lab-driver"];
    argv.extend(names.iter().map(|name| case_of(name)));
    let attempt = attempt(options, &argv, b"")?;
    let driven = match (&attempt.lost, attempt.output.status) {
        (Some(_), _) => answered(&attempt.output, names)?,
        (None, None) => names.iter().map(|name| unanswered(name, Ok(Verdict::Interrupted))).collect(),
        (None, Some(_)) => answers(&attempt.output, names)?,
    };
    Ok((driven, attempt.lost))
}

/// Runs a case of `lab-driver` on this machine, outside of the lab, with these variables. Its finding is that of the test
/// `name`.
pub(super) fn drive_here(
    programs: &Programs,
    case: &str,
    name: &str,
    variables: &[(&str, String)],
) -> Result<Driven> {
    let [pvir, .., driver] = programs.on_path.as_slice() else { bail!("no programs were built") };
    let folder = pvir.parent().context("pvir is in no folder")?.to_owned();
    let old = env::var_os("PATH").unwrap_or_default();
    let path: OsString = env::join_paths([folder].into_iter().chain(env::split_paths(&old)))?;
    let output = Command::new(driver)
        .arg(case)
        .env("PATH", path)
        .env("PVIR_KERNEL", &programs.kernel)
        .env_remove("PVIR_DEVICES")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .context("cannot start lab-driver")?;
    let status = output.status.code().and_then(|code| u8::try_from(code).ok());
    let output = Output { status, stdout: output.stdout, stderr: output.stderr };
    answers(&output, &[name])?.pop().context("no answer")
}

/// What the driver has printed, case by case.
fn answers(output: &Output, names: &[&str]) -> Result<Vec<Driven>> {
    let lines = output.json_lines()?;
    if lines.len() != names.len() {
        bail!("lab-driver answered {} of {} cases:\n{}", lines.len(), names.len(), said(output));
    }
    names.iter().zip(lines).map(|(name, line)| read(name, &line)).collect()
}

/// What it has printed before its machine was lost, which may have cut off a line.
fn answered(output: &Output, names: &[&str]) -> Result<Vec<Driven>> {
    let end = output.stdout.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let whole = Output { status: None, stdout: output.stdout[..end].to_vec(), stderr: Vec::new() };
    names.iter().zip(whole.json_lines()?).map(|(name, line)| read(name, &line)).collect()
}

/// The findings alone.
pub(super) fn findings(options: &Options, names: &[&str]) -> Result<Vec<Finding>> {
    Ok(drive(options, names)?.into_iter().map(|driven| driven.finding).collect())
}

fn case_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, case)| case)
}

fn read(name: &str, line: &Value) -> Result<Driven> {
    let note = line["note"].as_str().context("a case without a note")?.to_owned();
    let passed = line["ok"].as_bool().context("a case without a result")?;
    let finding = Finding {
        name: name.to_owned(),
        result: if passed { Ok(Verdict::Passed(note)) } else { Err(anyhow!("{note}")) },
        took: Duration::from_secs_f64(line["seconds"].as_f64().unwrap_or(0.0)),
    };
    Ok(Driven { finding, data: line["data"].clone() })
}

fn unanswered(name: &str, result: Result<Verdict>) -> Driven {
    let finding = Finding { name: name.to_owned(), result, took: Duration::ZERO };
    Driven { finding, data: Value::Null }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_becomes_a_finding() {
        let good = read("intel/a", &json!({"case": "a", "ok": true, "note": "n", "seconds": 1.5})).unwrap();
        assert!(matches!(good.finding.result, Ok(Verdict::Passed(note)) if note == "n"));
        assert_eq!(good.finding.took, Duration::from_millis(1500));
        let bad = read("intel/a", &json!({"case": "a", "ok": false, "note": "n"})).unwrap();
        assert_eq!(bad.finding.result.unwrap_err().to_string(), "n");
        assert!(read("intel/a", &json!({"note": "n"})).is_err());
    }

    #[test]
    fn what_a_lost_machine_has_answered_is_kept_failures_too() {
        let stdout =
            b"{\"ok\": true, \"note\": \"a\"}\n{\"ok\": false, \"note\": \"b\"}\n{\"ok\": tr".to_vec();
        let output = Output { status: None, stdout, stderr: Vec::new() };
        let driven = answered(&output, &["intel/a", "intel/b", "intel/c"]).unwrap();
        let passed: Vec<bool> = driven.iter().map(|driven| driven.finding.result.is_ok()).collect();
        assert_eq!(passed, [true, false]);
    }
}
