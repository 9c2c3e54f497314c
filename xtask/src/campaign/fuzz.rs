//! What a guest can hand to the host, tried at random (`host/fuzz`). The gate is the corpus in the unit tests.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::Campaign;
use super::report::Report;
use crate::build::workspace::{cargo, run_build, target_dir};

pub(super) const CALLS: Campaign = Campaign {
    name: "fuzz-calls",
    about: "request blocks of any content, on stable Rust, without the compiler's help (docs/testing.md)",
    run: |report, time| run(report, "calls", time),
};

pub(super) const ACCESSES: Campaign = Campaign {
    name: "fuzz-accesses",
    about: "accesses to trapped stores, on stable Rust, without the compiler's help (docs/testing.md)",
    run: |report, time| run(report, "accesses", time),
};

/// Each run begins at another place.
fn run(report: &mut Report, target: &str, time: Duration) -> Result<()> {
    run_build(cargo().args(["build", "--quiet", "--package", "pvir-fuzz"]), "pvir-fuzz")?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is wrong")?.as_secs();
    let failures = target_dir("fuzz-failures");
    let mut command = Command::new(target_dir("debug").join("pvir-fuzz"));
    command.args([target, "--seconds", &time.as_secs().to_string(), "--seed", &seed.to_string()]);
    let output = command.arg("--failures").arg(&failures).stdin(Stdio::null()).output();
    let output = output.context("cannot start pvir-fuzz")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    report.head = ["target", "seed", "inputs", "s"].map(str::to_owned).into();
    report.add(target, String::from_utf8_lossy(&output.stdout).trim_end(), false)
}
