//! What each side reads of what others have written, tried at random (`host/fuzz`). The gate is the corpus in the unit tests.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::Campaign;
use super::report::Report;
use crate::build::workspace::{self, cargo, run_build, target_dir};

const ABOUT: &str = "inputs made at random, by a runner on stable Rust and by libFuzzer (docs/testing.md)";
const PREFIX: &str = "fuzz-";
/// Where the wrapper for `cargo fuzz` is.
const WRAPPER: &str = "host/fuzz/libfuzzer";
/// Longest input of libFuzzer, in bytes, as of the runner.
const LONGEST: &str = "-max_len=1024";

const fn campaign(name: &'static str) -> Campaign {
    Campaign { name, about: ABOUT, run }
}

/// One for each target of `host/fuzz`.
pub(super) const CAMPAIGNS: [Campaign; 11] = [
    campaign("fuzz-calls"),
    campaign("fuzz-accesses"),
    campaign("fuzz-functions"),
    campaign("fuzz-device"),
    campaign("fuzz-saved"),
    campaign("fuzz-elf"),
    campaign("fuzz-bus"),
    campaign("fuzz-control"),
    campaign("fuzz-guest"),
    campaign("fuzz-discovery"),
    campaign("fuzz-config"),
];

/// Half of the time goes to each runner; all of it to the one on stable Rust where there is no other.
fn run(report: &mut Report, time: Duration) -> Result<()> {
    let target = report.name().strip_prefix(PREFIX).context("no target of host/fuzz")?.to_owned();
    report.head = ["target", "by", "seed", "inputs", "s", "edges reached"].map(str::to_owned).into();
    // Each run begins at another place.
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is wrong")?.as_secs();
    let libfuzzer = has_cargo_fuzz();
    let time = if libfuzzer { time / 2 } else { time };
    report.add("stable", &on_stable(&target, time, seed)?, false)?;
    if !libfuzzer {
        report.note(
            "libFuzzer was SKIPPED: `cargo +nightly fuzz` is not here (a nightly toolchain, and `cargo install cargo-fuzz`). \
             Nothing has told the runner which code an input reaches."
                .to_owned(),
        );
        return Ok(());
    }
    report.add("libfuzzer", &on_nightly(&target, time, seed)?, false)
}

fn on_stable(target: &str, time: Duration, seed: u64) -> Result<String> {
    run_build(cargo().args(["build", "--quiet", "--package", "pvir-fuzz"]), "pvir-fuzz")?;
    let failures = target_dir("fuzz-failures");
    let mut command = Command::new(target_dir("debug").join("pvir-fuzz"));
    command.args([target, "--seconds", &time.as_secs().max(1).to_string(), "--seed", &seed.to_string()]);
    let output = ran(command.arg("--failures").arg(&failures))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn nightly(words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    // The toolchain of this very program would stand in the way.
    command.args(["+nightly", "fuzz"]).args(words).env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
    command
}

fn has_cargo_fuzz() -> bool {
    nightly(&["--version"]).output().is_ok_and(|output| output.status.success())
}

/// libFuzzer goes on from what it has found before, in the build folder, and from the corpus.
fn on_nightly(target: &str, time: Duration, seed: u64) -> Result<String> {
    let (found, failures) = (target_dir("fuzz-corpus").join(target), target_dir("fuzz-failures"));
    [&found, &failures].into_iter().try_for_each(fs::create_dir_all)?;
    let root = workspace::root();
    let corpus = root.join("host/fuzz/corpus").join(target);
    let mut command = nightly(&["run", "target", "--fuzz-dir", WRAPPER, "--target-dir"]);
    command.arg(target_dir("fuzz")).arg(&found).arg(corpus);
    command.args(["--", LONGEST, "-print_final_stats=1", "-rss_limit_mb=4096", "-timeout=60"]);
    command
        .args([format!("-max_total_time={}", time.as_secs().max(1)), format!("-seed={}", seed % (1 << 32))]);
    command.arg(format!("-artifact_prefix={}/", failures.display()));
    let output = ran(command.current_dir(root).env("PVIR_FUZZ_TARGET", target))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let inputs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let inputs = inputs.context("libFuzzer has counted nothing")?.trim();
    let edges = said.lines().filter_map(|line| line.split_once(" cov: ")).next_back();
    let edges = edges.and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?");
    Ok(format!("| {target} | libFuzzer | {seed} | {inputs} | {}.0 | {edges} |", time.as_secs()))
}

fn ran(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_owned();
    let name = OsStr::to_string_lossy(&name).into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_with_a_corpus_has_a_campaign() {
        let folders = fs::read_dir(workspace::root().join("host/fuzz/corpus")).unwrap();
        let mut there: Vec<_> =
            folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
        let mut known: Vec<_> =
            CAMPAIGNS.iter().map(|campaign| campaign.name[PREFIX.len()..].to_owned()).collect();
        there.sort();
        known.sort();
        assert_eq!(there, known);
    }
}
