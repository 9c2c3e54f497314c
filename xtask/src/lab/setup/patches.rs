//! Our own patches for the kernel (`docs/kernel/`), applied to the source of the lab's kernel.
//!
//! They have no lines of context, so that they hold nothing but our own text. Where they go is said by numbers of lines
//! alone, which is right only in the very file that they were made from: its hash, as git has it, stands in the patch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::build::workspace;
use crate::process;

const FOLDER: &str = "docs/kernel";
/// The series that are applied, and what is not text for people in each.
const PATCHES: [&str; 2] = [
    "vfio-messages/0001-vfio-pci-return-messages.patch",
    "kvm-hypercalls/0001-kvm-forward-a-range-of-hypercalls.patch",
];

/// The text of all patches, by which what was built with them is known.
pub(super) fn text() -> Result<String> {
    files().iter().map(|file| read(file)).collect()
}

/// Applies them to a source tree, or does nothing.
///
/// # Errors
///
/// Where a file is not the one that a patch was made from: in another version of the kernel.
pub(super) fn apply(tree: &Path) -> Result<()> {
    process::find("git").context("no git to apply patches with; help: apt install git")?;
    for file in files() {
        for (path, hash) in originals(&read(&file)?) {
            let found = process::output(git(tree).args(["hash-object", "--no-filters", "--"]).arg(&path))?;
            if found.trim() != hash {
                bail!(
                    "{path} of this kernel is not the file that {} was made from; help: docs/kernel/README.md",
                    file.display()
                );
            }
        }
    }
    for file in files() {
        let applied = git(tree).args(["apply", "--unidiff-zero", "-p1"]).arg(&file).output()?;
        let said = String::from_utf8_lossy(&applied.stderr);
        ensure!(applied.status.success(), "git apply {}: {}", file.display(), said.trim_end());
    }
    Ok(())
}

fn files() -> Vec<PathBuf> {
    PATCHES.iter().map(|patch| workspace::root().join(FOLDER).join(patch)).collect()
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// git, which takes no repository around the tree for the tree's own.
fn git(tree: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(tree).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    git.env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree));
    git
}

/// Each file that a patch changes, and the hash of the one that it was made from.
fn originals(patch: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut hash = None;
    for line in patch.lines() {
        if let Some(hashes) = line.strip_prefix("index ") {
            hash = hashes.split_once("..").map(|(before, _)| before.to_owned());
        } else if let Some(path) = line.strip_prefix("--- a/") {
            found.extend(hash.take().map(|hash| (path.to_owned(), hash)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_nothing_but_our_own_text() {
        for file in files() {
            let patch = read(&file).unwrap();
            for line in patch.lines().skip_while(|line| !line.starts_with("diff ")) {
                let starts = ["diff ", "index ", "--- ", "+++ ", "+"];
                let ours = starts.iter().any(|start| line.starts_with(start));
                let hunk = line.starts_with("@@ ") && line.ends_with(" @@");
                assert!(ours || hunk || line.is_empty(), "{}: {line}", file.display());
            }
        }
    }

    #[test]
    fn every_file_of_a_patch_has_the_hash_of_its_original() {
        let originals = originals(&text().unwrap());
        let paths: Vec<&str> = originals.iter().map(|(path, _)| path.as_str()).collect();
        for one in ["drivers/vfio/pci/vfio_pci_intrs.c", "arch/x86/kvm/x86.c"] {
            assert!(paths.contains(&one) && paths.len() == 8, "{paths:?}");
        }
        assert!(originals.iter().all(|(_, hash)| hash.len() == 40));
    }

    #[test]
    fn another_file_than_the_original_is_not_touched() {
        let tree = tempfile::tempdir().unwrap();
        for (path, _) in originals(&text().unwrap()) {
            let file = tree.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "another\n").unwrap();
        }
        let refused = format!("{:#}", apply(tree.path()).unwrap_err());
        assert!(refused.contains("is not the file that"), "{refused}");
    }
}
