//! Which lines of the libraries their own tests reach.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Campaign;
use super::report::Report;
use crate::build::workspace::{self, target_dir};
use crate::process::output;

pub(super) const CAMPAIGN: Campaign = Campaign {
    name: "coverage",
    about: "lines of pvir-abi, pvir-guest and pvir-host that their unit and integration tests reach (nightly, llvm-tools)",
    run,
};

/// The packages, and where their source is.
const PACKAGES: [(&str, &str); 3] =
    [("pvir-abi", "shared-abi/src"), ("pvir-guest", "guest/src"), ("pvir-host", "host/src")];
/// What of the host's library does nothing but ask the kernel for devices of the host: the lab's tests have them, and unit tests
/// do not.
const VFIO: &str = "host/src/vfio/";
/// Not the libraries' own code: tests and fakes in files of their own, and other people's.
const NOT_OURS: &str = r"(/tests?/|tests\.rs$|/fake/|/fake\.rs$|/scripted/|/\.cargo/|/rustc/)";
/// Files that are named because they have the lowest share.
const LOWEST: usize = 20;

/// What `llvm-cov export --summary-only` writes, as far as it is used.
#[derive(Deserialize)]
struct Export {
    data: Vec<Data>,
}

#[derive(Deserialize)]
struct Data {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    lines: Lines,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Lines {
    count: u64,
    covered: u64,
}

impl Lines {
    fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, covered: self.covered + other.covered }
    }

    fn percent(self) -> f64 {
        // No file has so many lines that this loses any.
        #[expect(clippy::cast_precision_loss, reason = "numbers of lines")]
        let share = self.covered as f64 / self.count.max(1) as f64;
        share * 100.0
    }
}

/// All of it; the time is not asked for, since it is one run of the tests.
fn run(report: &mut Report, _: Duration) -> Result<()> {
    let tools = tools()?;
    let folder = target_dir("coverage");
    let profiles = folder.join("profiles");
    // What an earlier run has left would count.
    let _ = fs::remove_dir_all(&profiles);
    let programs = test(&folder, &profiles)?;
    let merged = folder.join("all.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    output(merge.args(["merge", "--sparse", "-o"]).arg(&merged).arg(&profiles))?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "--summary-only", "--ignore-filename-regex", NOT_OURS]);
    export.arg(format!("--instr-profile={}", merged.display()));
    for program in &programs {
        export.arg("--object").arg(program);
    }
    let export: Export =
        serde_json::from_str(&output(&mut export)?).context("llvm-cov wrote something else")?;
    tell(report, &export)
}

fn tell(report: &mut Report, export: &Export) -> Result<()> {
    report.head = ["package", "lines", "reached", "percent"].map(str::to_owned).into();
    let mut lowest = BTreeMap::new();
    let row = |part: &str, lines: Lines| {
        let Lines { count, covered } = lines;
        format!("| {part} | {count} | {covered} | {:.1} |", lines.percent())
    };
    for (package, source) in PACKAGES {
        let folder = workspace::root().join(source);
        let (mut all, mut of_vfio) = (Lines::default(), Lines::default());
        for file in export.data.iter().flat_map(|data| &data.files) {
            let Ok(name) = Path::new(&file.filename).strip_prefix(&folder) else { continue };
            let lines = file.summary.lines;
            let name = format!("{source}/{}", name.display());
            all = all.and(lines);
            if name.starts_with(VFIO) {
                of_vfio = of_vfio.and(lines);
            }
            lowest.insert((lines.covered * 10_000 / lines.count.max(1), name), lines);
        }
        report.add(package, &row(package, all), false)?;
        if of_vfio.count > 0 {
            let rest = Lines { count: all.count - of_vfio.count, covered: all.covered - of_vfio.covered };
            report.add(VFIO, &row(&format!("of it `{VFIO}`"), of_vfio), false)?;
            report.add("rest", &row("of it all else", rest), false)?;
        }
    }
    report.note("Tests inside of a file count as lines of it. The files with the lowest share:".into());
    for ((_, name), lines) in lowest.iter().take(LOWEST) {
        report.note(format!("- `{name}`: {} of {}, {:.1} %", lines.covered, lines.count, lines.percent()));
    }
    Ok(())
}

/// Runs the tests; answers with their programs.
fn test(folder: &Path, profiles: &Path) -> Result<Vec<PathBuf>> {
    let cargo = || {
        let mut cargo = Command::new("rustup");
        cargo.args(["run", "nightly", "cargo", "test"]).current_dir(workspace::root());
        PACKAGES.iter().for_each(|(package, _)| {
            cargo.args(["--package", package]);
        });
        cargo.args(["--lib", "--tests"]).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        cargo.env("CARGO_TARGET_DIR", folder).env("RUSTFLAGS", "-Cinstrument-coverage");
        cargo.env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw")).stdin(Stdio::null());
        cargo
    };
    let messages = output(cargo().args(["--no-run", "--message-format=json"]))?;
    let programs = messages.lines().filter_map(program).collect();
    output(cargo().args(["--quiet", "--no-fail-fast"]))?;
    Ok(programs)
}

/// The test program that a message of cargo's is about.
fn program(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
}

/// The folder of nightly's `llvm-cov`.
fn tools() -> Result<PathBuf> {
    let mut rustc = Command::new("rustup");
    let found =
        output(rustc.args(["run", "nightly", "rustc", "--print", "sysroot"]).env_remove("RUSTUP_TOOLCHAIN"));
    let tools = Path::new(found.context("there is no nightly toolchain")?.trim())
        .join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
    if !tools.join("llvm-cov").exists() {
        bail!("nightly has no llvm-cov; help: rustup component add --toolchain nightly llvm-tools");
    }
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_tests_are_found_in_cargos_messages() {
        let message = |test: bool| format!(r#"{{"profile":{{"test":{test}}},"executable":"/t/a"}}"#);
        assert_eq!(program(&message(true)), Some(PathBuf::from("/t/a")));
        assert_eq!(program(&message(false)), None);
        assert_eq!(program(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn shares_are_in_percent() {
        assert!((Lines { count: 8, covered: 6 }.percent() - 75.0).abs() < 1e-9);
        assert!(Lines::default().percent().abs() < 1e-9);
    }
}
