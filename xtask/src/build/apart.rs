//! Builds packages that are no part of the workspace: each has a lock file of its own, so that what it depends on stays
//! out of pvir's own dependencies.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::build::workspace;
use crate::process::output;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The build folder of all these packages.
const PURPOSE: &str = "apart";

/// alioth from the registry, with the library beside it.
pub(crate) const ALIOTH: &str = "host/examples/alioth";

/// The folders of all such packages.
pub(crate) const PACKAGES: [&str; 1] = [ALIOTH];

/// Builds the program of the package in `folder`, linked statically, without what a debugger needs: it also runs in the
/// lab. The answer is its path, or what is missing where the packages that it depends on cannot be had.
pub(crate) fn build(folder: &str, program: &str) -> Result<Result<PathBuf, String>> {
    let manifest = workspace::root().join(folder).join("Cargo.toml");
    let mut fetch = workspace::cargo();
    fetch.args(["fetch", "--quiet", "--locked", "--target", TARGET, "--manifest-path"]).arg(&manifest);
    if let Err(error) = output(&mut fetch) {
        let error = format!("{error:#}");
        // The lock file is of the source, and is a mistake where it does not fit.
        if error.contains("--locked") {
            bail!("{error}\nhelp: cargo update --workspace --manifest-path {folder}/Cargo.toml");
        }
        let reason = error.lines().find(|line| line.contains("error")).unwrap_or(&error);
        return Ok(Err(format!("the dependencies of {folder} ({reason})")));
    }
    let mut cargo = offline("build", folder);
    workspace::run_build(cargo.args(["--bin", program]), program)?;
    Ok(Ok(workspace::target_dir(PURPOSE).join(TARGET).join("debug").join(program)))
}

/// Runs the tests of a package whose program was built.
pub(crate) fn test(folder: &str) -> Result<()> {
    output(&mut offline("test", folder)).map(|_| ())
}

/// cargo on a package whose dependencies are there.
fn offline(subcommand: &str, folder: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args([subcommand, "--quiet", "--offline", "--locked", "--target", TARGET, "--manifest-path"]);
    cargo.arg(workspace::root().join(folder).join("Cargo.toml"));
    cargo.arg("--target-dir").arg(workspace::target_dir(PURPOSE));
    workspace::set_rustflags(&mut cargo, ["-Ctarget-feature=+crt-static"]);
    cargo
}
