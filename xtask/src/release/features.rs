//! Each set of features of each published library builds by itself: without what other packages of the workspace turn
//! on, and for the guest's side without a standard library.

use anyhow::Result;

use super::manifests;
use crate::build::{kernel, steps, workspace};
use crate::runner::{Verdict, skip};

/// The libraries that kernels embed.
const BARE: [&str; 2] = ["pvir-abi", "pvir-guest"];

/// `cargo/features`.
pub(super) fn check() -> Result<Verdict> {
    if !steps::has_subcommand("clippy") {
        return skip("cargo clippy");
    }
    let target = kernel::BARE_TARGET;
    let has_bare = kernel::has_core(target)?;
    let mut sets = 0;
    for package in manifests::published()? {
        let features: Vec<&str> =
            package.features.keys().map(String::as_str).filter(|name| *name != "default").collect();
        for set in subsets(&features) {
            let targets = if has_bare && BARE.contains(&package.name.as_str()) {
                vec![None, Some(target)]
            } else {
                vec![None]
            };
            for target in targets {
                let mut cargo = workspace::cargo();
                cargo.args(["clippy", "--lib", "--package", &package.name, "--no-default-features"]);
                cargo.args(["--features", &set.join(",")]);
                if let Some(target) = target {
                    cargo.args(["--target", target]);
                }
                cargo.args(["--", "--deny", "warnings"]);
                steps::run("features", &mut cargo)?;
                sets += 1;
            }
        }
    }
    let bare = if has_bare { "" } else { "; not for x86_64-unknown-none, whose core library is missing" };
    Ok(Verdict::Passed(format!("{sets} builds{bare}")))
}

/// All subsets, that of nothing first.
fn subsets<'a>(features: &[&'a str]) -> Vec<Vec<&'a str>> {
    features.iter().fold(vec![Vec::new()], |sets, feature| {
        let with = sets.iter().map(|set| set.iter().copied().chain([*feature]).collect());
        sets.iter().cloned().chain(with).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_features_is_there_once() {
        assert_eq!(subsets(&[]), [Vec::<&str>::new()]);
        assert_eq!(subsets(&["a", "b"]), [vec![], vec!["a"], vec!["b"], vec!["a", "b"]]);
    }
}
