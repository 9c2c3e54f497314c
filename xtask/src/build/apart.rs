//! Builds packages that are no part of the workspace: each has a lock file of its own, so that what it depends on stays
//! out of pvir's own dependencies.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::build::workspace;
use crate::process::output;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// alioth from the registry, with the library beside it.
pub(crate) const ALIOTH: &str = "host/examples/alioth";

/// The folders of all such packages.
pub(crate) const PACKAGES: [&str; 1] = [ALIOTH];

/// Builds the program of the package in `folder`, linked statically, without what a debugger needs: it also runs in the
/// lab. The answer is its path, or what is missing where the packages that it depends on cannot be had.
pub(crate) fn build(folder: &str, program: &str) -> Result<Result<PathBuf, String>> {
    let manifest = workspace::root().join(folder).join("Cargo.toml");
    let mut fetch = workspace::cargo();
    fetch.args(["fetch", "--locked", "--target", TARGET, "--manifest-path"]).arg(&manifest);
    if let Err(error) = output(&mut fetch) {
        let error = format!("{error:#}");
        // The lock file is of the source, and is a mistake where it does not fit.
        if error.contains("--locked") {
            bail!("{error}\nhelp: cargo update --workspace --manifest-path {folder}/Cargo.toml");
        }
        let reason = error.lines().last().unwrap_or_default().trim().to_owned();
        return Ok(Err(format!("the dependencies of {folder} ({reason})")));
    }
    let target = workspace::target_dir("apart");
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--offline", "--locked", "--target", TARGET, "--bin", program]);
    cargo.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(&target);
    workspace::set_rustflags(&mut cargo, ["-Ctarget-feature=+crt-static"]);
    workspace::run_build(&mut cargo, program)?;
    Ok(Ok(target.join(TARGET).join("debug").join(program)))
}
