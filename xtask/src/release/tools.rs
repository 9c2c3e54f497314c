//! Checks by programs that are installed beside cargo, where they are.

use std::process::Command;

use anyhow::Result;

use crate::build::{steps, workspace};
use crate::process::find;
use crate::runner::{Verdict, skip};

/// `source/spelling`, with what `_typos.toml` allows.
pub(super) fn spelling() -> Result<Verdict> {
    let Some(typos) = find("typos") else { return skip("typos (help: cargo install --locked typos-cli)") };
    steps::run("typos", Command::new(typos).arg("--hidden").current_dir(workspace::root()))?;
    Ok(Verdict::passed())
}

/// `source/dependencies`: licences, sources and doubles of all that is in the lock file, by `deny.toml`. Known
/// vulnerabilities are looked for in the public CI, which can fetch their list.
pub(super) fn dependencies() -> Result<Verdict> {
    if !steps::has_subcommand("deny") {
        return skip("cargo deny (help: cargo install --locked cargo-deny)");
    }
    steps::run(
        "deny",
        workspace::cargo().args(["deny", "--locked", "check", "bans", "licenses", "sources"]),
    )?;
    Ok(Verdict::passed())
}
