//! The packages as a registry would have them: each builds from what is in it, and so do its tests.
//!
//! cargo packs them. Its own verification is left to releases and to the public CI (`docs/releasing.md`): it takes what it
//! has built of another package of ours in an earlier run for what is packed now, since no package that has been
//! published changes, and it builds no tests. So all are unpacked side by side into a workspace of their own, where the
//! one that another needs is the unpacked one, and each is built there by itself. What was compiled of the dependencies
//! in the usual build folder is taken from there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::manifests::{self, Package};
use crate::build::{steps, workspace};
use crate::process::output;
use crate::runner::{Verdict, skip};

/// The first cargo that packs several packages of which one needs another that no registry has yet.
const OLDEST_CARGO: (u32, u32) = (1, 90);
/// What the workspace says of development builds: a package does not, and cargo would compile all dependencies anew.
const PROFILE: [&str; 2] = ["profile.dev.debug='line-tables-only'", "profile.dev.package.'*'.debug=false"];
/// What every package holds, for people and for tools that look for licences.
const FILES: [&str; 4] = ["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];
/// Packages that take along the page of the contract.
const WITH_CONTRACT: [&str; 3] = ["pvir-abi", "pvir-guest", "pvir-host"];
/// Of these the tests are run, too: they take a second, and show that a package's examples need no feature of it.
const TESTED: [&str; 2] = ["pvir-abi", "pvir-guest"];

/// `cargo/package`.
pub(super) fn check() -> Result<Verdict> {
    let version = output(workspace::cargo().arg("--version"))?;
    if minor(&version).is_none_or(|version| version < OLDEST_CARGO) {
        return skip(format!(
            "cargo 1.90 or newer, which packs packages that need each other; this is {}",
            version.trim_end()
        ));
    }
    let packages = manifests::published()?;
    pack(&packages)?;
    let folder = unpack(&packages)?;
    for package in &packages {
        // as a dependency; as its tests are built at first, and with all that they can have
        for options in [&[][..], &["--all-targets"], &["--all-targets", "--all-features"]] {
            let mut cargo = cargo(&folder, "check");
            steps::run("package-builds", cargo.args(["--package", &package.name]).args(options))?;
        }
    }
    for name in TESTED {
        steps::run("package-tests", cargo(&folder, "test").args(["--package", name]))?;
    }
    let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
    Ok(Verdict::Passed(names.join(", ")))
}

/// The first two numbers of what `cargo --version` prints.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("cargo ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A cargo that builds with the dependencies of the workspace, and asks no registry.
fn cargo(folder: &Path, subcommand: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.current_dir(folder);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    cargo.args([subcommand, "--offline", "--target-dir"]).arg(workspace::target_dir(""));
    cargo
}

/// Packs. What is not committed yet is packed as well.
fn pack(packages: &[Package]) -> Result<()> {
    let mut cargo = cargo(workspace::root(), "package");
    cargo.args(["--allow-dirty", "--no-verify"]);
    for package in packages {
        cargo.args(["--package", &package.name]);
    }
    steps::run("package", &mut cargo)
}

/// Unpacks all into a workspace, and returns its folder.
fn unpack(packages: &[Package]) -> Result<PathBuf> {
    let folder = workspace::target_dir("unpacked");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for package in packages {
        let archive = workspace::target_dir("package").join(format!("{}.crate", full_name(package)));
        // touched, since cargo packs files of 2006, and takes what it built of an earlier package for fresh
        output(Command::new("tar").arg("-xmzf").arg(&archive).arg("-C").arg(&folder))?;
        let mut wanted = FILES.to_vec();
        wanted.extend(WITH_CONTRACT.contains(&package.name.as_str()).then_some("docs/abi.md"));
        for name in wanted {
            let has = folder.join(full_name(package)).join(name).is_file();
            ensure!(has, "the package {} holds no {name}", package.name);
        }
    }
    fs::write(folder.join("Cargo.toml"), manifest(packages))?;
    let lock = workspace::root().join("Cargo.lock");
    fs::copy(&lock, folder.join("Cargo.lock")).with_context(|| format!("cannot copy {}", lock.display()))?;
    Ok(folder)
}

fn full_name(package: &Package) -> String {
    format!("{}-{}", package.name, package.version)
}

/// The manifest of a workspace of the unpacked packages.
fn manifest(packages: &[Package]) -> String {
    let members: Vec<_> = packages.iter().map(|package| format!("{:?}", full_name(package))).collect();
    let patches =
        packages.iter().map(|package| format!("{} = {{ path = {:?} }}\n", package.name, full_name(package)));
    let patches: String = patches.collect();
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n[patch.crates-io]\n{patches}",
        members.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_cargo_is_read() {
        assert_eq!(minor("cargo 1.90.0 (840b83a10 2025-07-30)"), Some((1, 90)));
        assert_eq!(minor("cargo 1.87.0-nightly"), Some((1, 87)));
        assert_eq!(minor("rustc 1.90.0"), None);
    }

    #[test]
    fn dependencies_are_compiled_as_the_workspace_has_them_compiled() {
        let manifest = fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[profile.dev]\ndebug = \"line-tables-only\"\n"));
        assert!(manifest.contains("[profile.dev.package.\"*\"]\ndebug = false\n"));
    }
}
