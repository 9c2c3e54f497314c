//! The steps that cargo does: form, lints, tests, documentation, the kernel.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{Programs, apart, kernel, workspace};
use crate::process::{output, run_logged};
use crate::runner::{Counts, Step, Verdict, skip};

/// What cargo does with the source in its usual build folder.
pub(crate) fn of_source() -> Vec<Step> {
    vec![
        Step { name: "cargo/format", about: "rustfmt changes nothing", run: format },
        Step { name: "cargo/clippy", about: "no lint warns", run: clippy },
        Step { name: "cargo/test", about: "unit, golden and integration tests", run: test },
        Step { name: "cargo/doc", about: "the documentation builds without a warning", run: doc },
    ]
}

/// What is built in folders of their own, by other flags.
pub(crate) fn builds() -> Vec<Step> {
    vec![
        Step { name: "build/kernel", about: "the test kernel is built, for either target", run: kernel },
        Step {
            name: "build/static",
            about: "the programs of the lab are linked statically",
            run: statically,
        },
        Step { name: "build/kernel-clippy", about: "no lint warns in the kernel", run: kernel_clippy },
        Step { name: "build/msrv", about: "the oldest Rust that each crate promises builds it", run: msrv },
    ]
}

fn format() -> Result<Verdict> {
    if !has_subcommand("fmt") {
        return skip("cargo fmt (rustfmt)");
    }
    run("format", workspace::cargo().args(["fmt", "--all", "--check"]))?;
    for folder in apart::PACKAGES {
        let manifest = workspace::root().join(folder).join("Cargo.toml");
        run("format", workspace::cargo().args(["fmt", "--check", "--manifest-path"]).arg(manifest))?;
    }
    Ok(Verdict::passed())
}

fn clippy() -> Result<Verdict> {
    if !has_subcommand("clippy") {
        return skip("cargo clippy");
    }
    run(
        "clippy",
        workspace::cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    )?;
    Ok(Verdict::passed())
}

/// The benchmarks hold no test, and would have everything built that they need.
fn test() -> Result<Verdict> {
    let result = run(
        "test",
        workspace::cargo().args(["test", "--workspace", "--exclude", "pvir-bench", "--no-fail-fast"]),
    );
    let text = fs::read_to_string(log("test")).context("cannot read the log of cargo test")?;
    let counts = count(&text);
    match result {
        // without a failed test, the failure is one of building
        Err(error) if counts.failed == 0 => Err(error),
        Err(error) => {
            eprintln!("{error:#}");
            Ok(Verdict::Counted(counts))
        }
        Ok(()) => Ok(Verdict::Counted(counts)),
    }
}

/// With all features, as the pages that are published have them.
fn doc() -> Result<Verdict> {
    let mut cargo = workspace::cargo();
    cargo.args(["doc", "--workspace", "--no-deps", "--all-features"]).env("RUSTDOCFLAGS", "--deny warnings");
    run("doc", &mut cargo)?;
    Ok(Verdict::passed())
}

fn kernel() -> Result<Verdict> {
    for target in kernel::TARGETS {
        if kernel::has_core(target)? {
            kernel::build(&kernel::Options::for_target(target))?;
        }
    }
    Ok(Verdict::passed())
}

fn kernel_clippy() -> Result<Verdict> {
    if !has_subcommand("clippy") {
        return skip("cargo clippy");
    }
    for target in kernel::TARGETS {
        if kernel::has_core(target)? {
            kernel::lint(target)?;
        }
    }
    Ok(Verdict::passed())
}

/// The crates that kernels embed promise an older Rust than the rest. Nothing is downloaded for this.
fn msrv() -> Result<Verdict> {
    let promises: [(&str, &[&str]); 2] =
        [("1.85", &["--package", "pvir-abi", "--package", "pvir-guest"]), ("1.87", &["--workspace"])];
    let installed = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let toolchain = |version: &str| {
        let dotted = format!("{version}.");
        let mut names = installed.lines().filter_map(|line| line.split_whitespace().next());
        names.rfind(|name| name.starts_with(&dotted) || name.starts_with(&format!("{version}-")))
    };
    let mut built = Vec::new();
    for (version, packages) in promises {
        let Some(toolchain) = toolchain(version) else {
            return skip(format!(
                "Rust {version} (help: rustup toolchain install {version} --profile minimal)"
            ));
        };
        let mut cargo = Command::new("rustup");
        cargo.current_dir(workspace::root()).args(["run", toolchain, "cargo", "check"]).args(packages);
        // what the outer cargo has set would lead the inner one back to the outer toolchain
        cargo.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
        cargo.arg("--target-dir").arg(workspace::target_dir(&format!("msrv-{version}")));
        run("msrv", &mut cargo)?;
        built.push(format!("{version}: {}", packages.join(" ").replace("--package ", "").replace("--", "")));
    }
    Ok(Verdict::Passed(built.join("; ")))
}

fn statically() -> Result<Verdict> {
    let programs = Programs::build()?;
    for program in programs.on_path.iter().chain([&programs.init]) {
        let headers = output(Command::new("readelf").arg("--program-headers").arg(program))?;
        if headers.contains("INTERP") {
            bail!("{} needs a dynamic linker", program.display());
        }
    }
    Ok(Verdict::passed())
}

/// Whether cargo has this subcommand.
pub(crate) fn has_subcommand(name: &str) -> bool {
    output(workspace::cargo().args([name, "--version"])).is_ok()
}

fn log(step: &str) -> PathBuf {
    workspace::target_dir("test-logs").join(format!("{step}.log"))
}

/// Runs cargo with its output in a log of its own.
pub(crate) fn run(step: &str, cargo: &mut Command) -> Result<()> {
    let log = log(step);
    if log.exists() {
        fs::remove_file(&log)?;
    }
    run_logged(cargo.env("CARGO_TERM_COLOR", "never"), &log)
}

/// Adds up the lines in which cargo's test programs say how they ended.
fn count(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let number = |word: &str| {
            let before = line.split([';', '.']).find_map(|part| part.trim().strip_suffix(word))?;
            before.trim().parse().ok()
        };
        counts += Counts {
            passed: number("passed").unwrap_or(0),
            failed: number("failed").unwrap_or(0),
            skipped: number("ignored").unwrap_or(0),
        };
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_test_programs_are_added_up() {
        let text = "test a ... ok\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                    test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(count(text), Counts { passed: 5, failed: 4, skipped: 1 });
    }
}
