//! The folder of one run: sockets, the image, logs. It goes when the run ends, and if the run was killed, when the next
//! one starts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

/// Short, and in the folder for temporary files: a socket's path must not be longer than 107 bytes.
const PREFIX: &str = "pvir-lab-";
const LOCK: &str = "lock";

pub(super) struct Scratch {
    folder: PathBuf,
    /// Held as long as the run lasts; the kernel gives it back even if the run is killed.
    lock: Option<File>,
}

impl Scratch {
    /// Makes a folder, and removes those that nobody holds any more.
    pub(super) fn create() -> Result<Self> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?
            .keep();
        let lock = File::create(folder.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).context("cannot lock the run's folder")?;
        Ok(Self { folder, lock: Some(lock) })
    }

    /// A folder that is not made, and not removed either.
    #[cfg(test)]
    pub(super) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), lock: None }
    }

    pub(super) fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs")
    }

    pub(super) fn channel(&self) -> PathBuf {
        self.folder.join("channel")
    }

    pub(super) fn qmp(&self) -> PathBuf {
        self.folder.join("qmp")
    }

    /// All that L1 says on its serial line.
    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// What QEMU itself says.
    pub(super) fn qemu_log(&self) -> PathBuf {
        self.folder.join("qemu.log")
    }

    /// Copies the logs to a folder that stays.
    pub(super) fn keep_logs(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for log in [self.console(), self.qemu_log()] {
            let name = log.file_name().unwrap_or_default();
            let kept = folder.join(name);
            fs::copy(&log, &kept).with_context(|| format!("cannot write {}", kept.display()))?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // what cannot be removed now is the next run's to remove
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Removes folders of runs that were killed: their locks are free.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // one without a lock is about to get it
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
