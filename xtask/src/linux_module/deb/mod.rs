//! The module as a package for Debian: its source for DKMS, and what loads it before the drivers of devices.

mod dkms;
mod tree;

pub(super) use dkms::check;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::build::workspace;
use crate::process;

const PACKAGE: &str = "pvir-dkms";
/// By which one says when what is built is said to have been built, in seconds since 1970
/// (reproducible-builds.org/specs/source-date-epoch, version 1.1).
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Build the module's package for Debian, from which DKMS builds it for each kernel of a guest
#[derive(Args)]
pub(crate) struct Options {
    /// Where the package is made [default: `deb` in the build folder]
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

/// `xtask linux deb`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let folder = options.to.clone().unwrap_or_else(|| workspace::target_dir("deb"));
    println!("{}", build(&folder)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes the package; the same source and the same moment make the same bytes.
fn build(folder: &Path) -> Result<PathBuf> {
    process::find("dpkg-deb").context("there is no dpkg-deb; help: it is in the package dpkg")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let epoch = epoch()?;
    let work = tempfile::tempdir()?;
    let tree = work.path().join("tree");
    tree::lay_out(&tree, epoch)?;
    let package = folder.join(format!("{PACKAGE}_{}_all.deb", version()));
    // dpkg-deb clamps the times of files to it. gzip's output does not depend on how many processors there are.
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zgzip", "--build"]).arg(&tree).arg(&package);
    process::output(dpkg.env(EPOCH, epoch.to_string()))?;
    Ok(package)
}

/// That of the crates.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// What the environment says, or the moment of the commit; without either the beginning of time.
fn epoch() -> Result<u64> {
    if let Some(said) = std::env::var_os(EPOCH) {
        let number = said.to_str().and_then(|text| text.parse().ok());
        return number.with_context(|| format!("{EPOCH} is no number of seconds: {}", said.display()));
    }
    let mut git = Command::new("git");
    let said = process::output(git.current_dir(workspace::root()).args(["log", "-1", "--format=%ct"]));
    Ok(said.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}
