//! The kernel's file systems.

use std::fs;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};

/// Type and place of each, parents before children.
const FILE_SYSTEMS: [(&str, &str); 8] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/tmp"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
];

pub(crate) fn mount_all() -> Result<()> {
    for (kind, place) in FILE_SYSTEMS {
        // those below sysfs exist already, and cannot be made
        let _ = fs::create_dir_all(place);
        mount(kind, place, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} at {place}"))?;
    }
    Ok(())
}
