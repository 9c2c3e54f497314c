//! Whether the source is ready to be released, and the commands that release it (`docs/releasing.md`).

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::manifests::{self, Package};
use crate::build::workspace;
use crate::process::output;

/// `xtask release`: says what is in the way of a release, or the commands of one. It publishes nothing.
pub(crate) fn run() -> Result<ExitCode> {
    let packages = manifests::published()?;
    let changelog = workspace::root().join("CHANGELOG.md");
    let changelog =
        fs::read_to_string(&changelog).with_context(|| format!("cannot read {}", changelog.display()))?;
    let changed = output(Command::new("git").current_dir(workspace::root()).args(["status", "--porcelain"]))?;
    let faults = faults(&packages, &changelog, &changed);
    if faults.is_empty() {
        println!("nothing is in the way. After `./run.sh test --no-skip` has passed:");
        for command in commands(&packages) {
            println!("  {command}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("this is in the way of a release:");
    for fault in faults {
        println!("  - {fault}");
    }
    Ok(ExitCode::FAILURE)
}

/// What is in the way, in words.
fn faults(packages: &[Package], changelog: &str, changed: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let homeless = packages.iter().any(|package| package.repository.as_ref().is_none_or(String::is_empty));
    if homeless {
        faults.push("`repository` is empty in Cargo.toml, below [workspace.package]".to_owned());
    }
    let version = version(packages);
    if packages.iter().any(|package| package.version != version) {
        faults.push("the packages have different versions".to_owned());
    }
    let heading = format!("## {version} - ");
    if !changelog.lines().any(|line| line.starts_with(&heading)) {
        faults.push(format!("CHANGELOG.md has no section \"{heading}YYYY-MM-DD\""));
    }
    let unreleased = changelog.split("\n## Unreleased\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    if unreleased.is_some_and(|section| !section.trim().is_empty()) {
        faults.push("CHANGELOG.md has lines below \"Unreleased\"".to_owned());
    }
    if !changed.is_empty() {
        faults.push(format!("there are changes that are not committed:\n{}", changed.trim_end()));
    }
    faults
}

/// What publishes the packages. A registry takes one only after those that it needs.
fn commands(packages: &[Package]) -> Vec<String> {
    let version = version(packages);
    let publish = packages.iter().map(|package| format!("cargo publish --locked --package {}", package.name));
    let tag = format!("git tag --annotate v{version} --message 'pvir {version}'");
    publish.chain([tag, format!("git push origin v{version}")]).collect()
}

fn version(packages: &[Package]) -> &str {
    packages.first().map_or("", |package| &package.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASED: &str = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-12-01\n\n- A thing.\n";

    fn packages() -> Vec<Package> {
        let mut packages = manifests::published().unwrap();
        for package in &mut packages {
            package.version = "1.2.3".to_owned();
            package.repository = Some("https://example.org/pvir".to_owned());
        }
        packages
    }

    #[test]
    fn a_tree_that_is_ready_has_no_fault() {
        assert_eq!(faults(&packages(), RELEASED, ""), Vec::<String>::new());
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let mut homeless = packages();
        homeless[1].repository = Some(String::new());
        assert!(faults(&homeless, RELEASED, "")[0].contains("repository"));
        let mut uneven = packages();
        uneven[1].version = "1.2.4".to_owned();
        assert!(faults(&uneven, RELEASED, "")[0].contains("different versions"));
        let undated = RELEASED.replace(" - 2026-12-01", "");
        assert!(faults(&packages(), &undated, "")[0].contains("## 1.2.3 - "));
        let pending = RELEASED.replace("Unreleased\n", "Unreleased\n\n- Another.\n");
        assert!(faults(&packages(), &pending, "")[0].contains("Unreleased"));
        assert!(faults(&packages(), RELEASED, " M Cargo.toml\n")[0].contains(" M Cargo.toml"));
    }

    #[test]
    fn the_contract_is_published_before_what_is_built_on_it() {
        let commands = commands(&packages());
        let place = |name: &str| commands.iter().position(|command| command.ends_with(name)).unwrap();
        assert!(place("pvir-abi") < place("pvir-guest") && place("pvir-host") < place(" pvir"));
        assert!(commands.iter().any(|command| command.contains("git tag --annotate v1.2.3 ")));
    }
}
