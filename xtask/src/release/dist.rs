//! What a package of a distribution holds of `pvir`, as a tree below a prefix: the program, its manual pages, the
//! completions of shells, licences and pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::build::{Programs, workspace};
use crate::process::output;
use crate::runner::Verdict;

/// Build pvir with its manual pages and the completions of shells, in a tree to be copied to a prefix such as /usr/local.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the tree is made [default: `dist` in the build folder]
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

/// Shells, and where each looks for the completions of a program.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/pvir"),
    ("fish", "share/fish/vendor_completions.d/pvir.fish"),
    ("zsh", "share/zsh/site-functions/_pvir"),
];
const MANUAL: &str = "share/man/man1";
/// What is read by people, by its path from the root of the source.
const PAGES: [&str; 6] = [
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "docs/commands.md",
    "docs/isolation.md",
    "host/vmm/README.md",
];
/// Commands of `pvir`, each of which has a page.
const COMMANDS: [&str; 8] = ["run", "routes", "doctor", "devices", "bind", "unbind", "completions", "man"];

/// `xtask dist`: returns the tree.
pub(crate) fn run(options: &Options) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--release", "--locked", "--package", "pvir", "--target-dir"])
        .arg(workspace::target_dir(""));
    workspace::run_build(&mut cargo, "pvir")?;
    let tree = options.to.clone().unwrap_or_else(|| workspace::target_dir("dist"));
    let tree = std::path::absolute(&tree).with_context(|| format!("no path: {}", tree.display()))?;
    lay_out(&workspace::target_dir("release").join("pvir"), &tree)?;
    Ok(tree)
}

/// `build/dist`: the tree around the program that the lab has.
pub(super) fn check() -> Result<Verdict> {
    let programs = Programs::build()?;
    let pvir = programs.on_path.iter().find(|path| path.ends_with("pvir")).context("no pvir was built")?;
    let tree = workspace::target_dir("dist-test");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    lay_out(pvir, &tree)?;
    let pages = COMMANDS.map(|command| format!("{MANUAL}/pvir-{command}.1"));
    let page = format!("{MANUAL}/pvir.1");
    for name in pages.iter().map(String::as_str).chain([page.as_str(), "bin/pvir"]) {
        ensure!(tree.join(name).is_file(), "the tree has no {name}");
    }
    for (shell, name) in COMPLETIONS {
        let script = fs::read_to_string(tree.join(name))?;
        let missing: Vec<_> = COMMANDS.iter().filter(|command| !script.contains(**command)).collect();
        ensure!(missing.is_empty(), "{shell} would not complete {missing:?}");
    }
    output(Command::new("bash").arg("-n").arg(tree.join(COMPLETIONS[0].1)))?;
    Ok(Verdict::passed())
}

fn lay_out(pvir: &Path, tree: &Path) -> Result<()> {
    put(tree, "bin/pvir", |to| Ok(fs::copy(pvir, to).map(drop)?))?;
    output(Command::new(pvir).arg("man").arg(tree.join(MANUAL)))?;
    for (shell, name) in COMPLETIONS {
        let script = output(Command::new(pvir).args(["completions", shell]))?;
        put(tree, name, |to| Ok(fs::write(to, &script)?))?;
    }
    for page in PAGES {
        let name = Path::new(page).file_name().unwrap_or_default().to_string_lossy();
        put(tree, &format!("share/doc/pvir/{name}"), |to| {
            Ok(fs::copy(workspace::root().join(page), to).map(drop)?)
        })?;
    }
    Ok(())
}

/// Makes a file of the tree, and the folders above it.
fn put(tree: &Path, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let to = tree.join(name);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    write(&to).with_context(|| format!("cannot write {}", to.display()))
}
