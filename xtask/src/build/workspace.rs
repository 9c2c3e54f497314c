//! Where things are in the source tree, and how an inner cargo is started.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The root of the source tree.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// A build folder of its own for each set of compiler flags, so that the sets do not undo each other's work.
pub(crate) fn target_dir(purpose: &str) -> PathBuf {
    let base = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    // a relative CARGO_TARGET_DIR is relative to where the user stands, not to the tree
    let base = std::path::absolute(&base).unwrap_or(base);
    base.join(purpose)
}

/// The cargo that started us, or the first on `PATH`.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(tool("CARGO", "cargo"));
    command.current_dir(root());
    command
}

/// A tool of the toolchain that the environment may name otherwise.
pub(crate) fn tool(variable: &str, default: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| default.into())
}

/// Sets the flags of a cross build, whatever the user has in `RUSTFLAGS` for the ordinary one.
pub(crate) fn set_rustflags<'a>(command: &mut Command, flags: impl IntoIterator<Item = &'a str>) {
    // the encoded form is the only one in which a path may hold a space
    let encoded = flags.into_iter().collect::<Vec<_>>().join("\u{1f}");
    command.env("CARGO_ENCODED_RUSTFLAGS", encoded).env_remove("RUSTFLAGS");
}

/// Runs a build whose messages go to stderr and fails, naming `what`, unless it succeeds.
pub(crate) fn run_build(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start cargo to build {what}"))?;
    if !status.success() {
        bail!("building {what} failed ({status}); the compiler's messages are above");
    }
    Ok(())
}
