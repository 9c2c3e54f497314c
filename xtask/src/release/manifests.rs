//! The packages of the workspace, as cargo knows them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::build::workspace;
use crate::process::output;

/// What `cargo metadata` says of a package.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// The registries to which it may go; none stands for any.
    publish: Option<Vec<String>>,
    /// Each feature, and what it turns on.
    pub(super) features: BTreeMap<String, Vec<String>>,
    pub(super) repository: Option<String>,
    pub(super) dependencies: Vec<Dependency>,
    #[cfg(test)]
    manifest_path: std::path::PathBuf,
}

/// A line of a `[dependencies]` table.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// How the source calls it, where that is another name.
    #[cfg(test)]
    rename: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

impl Package {
    fn is_published(&self) -> bool {
        self.publish.is_none()
    }
}

/// All packages of the workspace, by their names.
pub(super) fn all() -> Result<Vec<Package>> {
    let mut cargo = workspace::cargo();
    let text = output(cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cannot read what cargo metadata has printed")?;
    Ok(metadata.packages)
}

/// The packages that are published, each after those that it needs.
pub(super) fn published() -> Result<Vec<Package>> {
    let mut waiting: Vec<Package> = all()?.into_iter().filter(Package::is_published).collect();
    let mut sorted: Vec<Package> = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |package: &Package| {
            let needs = |other: &Package| package.dependencies.iter().any(|needed| needed.name == other.name);
            !waiting.iter().any(|other| other.name != package.name && needs(other))
        };
        let position =
            waiting.iter().position(is_ready).context("the packages need each other in a circle")?;
        sorted.push(waiting.remove(position));
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Which packages go to a registry is a decision, and is made here.
    const PUBLISHED: [&str; 6] =
        ["pvir-abi", "pvir-guest", "pvir-patience", "pvir-host", "pvir-test-device", "pvir"];

    #[test]
    fn each_package_is_published_after_those_that_it_needs() {
        let names: Vec<_> = published().unwrap().into_iter().map(|package| package.name).collect();
        let place = |name: &str| names.iter().position(|other| other == name).unwrap();
        assert_eq!(names.len(), PUBLISHED.len(), "{names:?}");
        assert!(PUBLISHED.iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");
        assert!(place("pvir-abi") < place("pvir-guest") && place("pvir-guest") < place("pvir-host"));
        assert!(place("pvir-patience") < place("pvir-host") && place("pvir-host") < place("pvir"));
    }

    #[test]
    fn each_published_package_has_its_own_copy_of_the_licences() {
        for package in published().unwrap() {
            for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
                let copy = fs::read(package.folder().join(name)).unwrap();
                assert!(copy == fs::read(workspace::root().join(name)).unwrap(), "{}: {name}", package.name);
            }
        }
    }

    #[test]
    fn a_page_that_packages_take_along_is_the_one_of_the_docs_folder() {
        let mut found = 0;
        for package in published().unwrap() {
            let Ok(pages) = fs::read_dir(package.folder().join("docs")) else { continue };
            for page in pages.map(|page| page.unwrap().path()) {
                let original = workspace::root().join("docs").join(page.file_name().unwrap());
                assert!(fs::read(&page).unwrap() == fs::read(original).unwrap(), "{}", page.display());
                found += 1;
            }
        }
        assert!(found >= 5, "{found} pages found");
    }

    impl Package {
        /// Where its manifest is.
        fn folder(&self) -> &Path {
            self.manifest_path.parent().unwrap()
        }
    }

    /// Every source file of a package, those of packages inside of it left out, in one text.
    fn source(folder: &Path) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.join("Cargo.toml").exists() {
                text.push_str(&source(&path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
        text
    }

    /// Whether the source says `name::`, or `name` alone in an import or an argument, with nothing before or after.
    fn names(source: &str, name: &str) -> bool {
        let is_part = |symbol: char| symbol.is_alphanumeric() || symbol == '_';
        source.match_indices(name).any(|(at, _)| {
            let (before, after) = (&source[..at], &source[at + name.len()..]);
            let begins = !before.ends_with(is_part) && !before.ends_with("::");
            begins && (after.starts_with("::") || (before.ends_with("use ") && after.starts_with(';')))
        })
    }

    #[test]
    fn every_dependency_is_named_in_the_source() {
        for package in all().unwrap() {
            let mut source = source(package.folder());
            if package.name == "pvir-bench" {
                // of which one program is beside the crate that it measures
                source
                    .push_str(&fs::read_to_string(workspace::root().join("guest/benches/work.rs")).unwrap());
            }
            let own = package.dependencies.iter().filter(|needed| needed.name != package.name);
            let unused: Vec<_> = own
                .map(|needed| needed.rename.as_ref().unwrap_or(&needed.name).replace('-', "_"))
                .filter(|name| !names(&source, name))
                .collect();
            assert!(unused.is_empty(), "{} does not use {unused:?}", package.name);
        }
    }

    #[test]
    fn a_dependency_is_named_by_a_path_that_begins_with_it() {
        assert!(
            names("use libc::c_int;", "libc") && names("use libc;", "libc") && names("(libc::EIO)", "libc")
        );
        assert!(
            !names("use mylibc::x;", "libc") && !names("// libc", "libc") && !names("a::libc::x", "libc")
        );
    }
}
