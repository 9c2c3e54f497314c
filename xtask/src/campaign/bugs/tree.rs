//! A copy of the tree in which something may be broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::workspace;
use crate::process;

/// A folder with the files that git knows, as they are in the tree.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Copies what is not there yet, or is another. A file that stays keeps its time, so that cargo builds no more than it
    /// must.
    pub(super) fn copy() -> Result<Self> {
        let root = workspace::target_dir("bugs").join("tree");
        let mut git = Command::new("git");
        let files = process::output(git.current_dir(workspace::root()).args(["ls-files", "-z"]))?;
        for file in files.split('\0').filter(|file| !file.is_empty()) {
            let from = workspace::root().join(file);
            // Deleted in the tree, and git does not know yet; or a link to a folder.
            if from.is_file() {
                copy(&from, &root.join(file)).with_context(|| format!("cannot copy {file}"))?;
            }
        }
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    Ok(fs::write(to, bytes)?)
}
