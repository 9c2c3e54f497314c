//! What memory the host has for a guest, before it is asked for: a VM that is too large would be noticed by the kernel's
//! OOM killer only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::memory_size::MemorySize;

/// The host's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostMemory {
    /// RAM and swap, or what the control group may have of it.
    total: u64,
    /// What can be had without swapping.
    available: u64,
}

impl HostMemory {
    /// Reads it; `None` where this kernel does not say.
    pub(crate) fn read() -> Option<Self> {
        Self::read_below(Path::new("/"))
    }

    fn read_below(root: &Path) -> Option<Self> {
        let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
        // proc_meminfo(5): "kB" there are KiB.
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
        let swap = field("SwapTotal:").unwrap_or(0);
        let limit = group_limit(root).unwrap_or(u64::MAX);
        Some(Self { total: total.saturating_add(swap).min(limit), available: available.min(limit) })
    }

    /// Whether a guest of this size can be here at all. Its memory is the host's only once the guest uses it.
    ///
    /// # Errors
    /// If the host does not have so much.
    pub(crate) fn check_size(self, size: MemorySize) -> Result<()> {
        if size.bytes() > self.total {
            bail!("--memory {size}: this host has {} MiB, swap included", self.total >> 20);
        }
        Ok(())
    }

    /// Whether all of a guest's memory can be pinned now, as it is for a device that is passed through.
    ///
    /// # Errors
    /// If less is available.
    pub(crate) fn check_pinned(self, size: MemorySize) -> Result<()> {
        if size.bytes() > self.available {
            bail!(
                "--memory {size}: with a device passed through all of it is pinned, but this host has {} MiB available\n\
                 help: use a smaller --memory, or end something else",
                self.available >> 20
            );
        }
        Ok(())
    }
}

/// The lowest limit of this process's control group and those above it (Linux, "Documentation/admin-guide/cgroup-v2.rst",
/// memory.max; "cgroup-v1/memory.rst", memory.limit_in_bytes).
fn group_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let place = |line: &str| -> Option<(PathBuf, &'static str)> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            return Some((root.join("sys/fs/cgroup").join(path), "memory.max"));
        }
        let own = controllers.split(',').any(|name| name == "memory");
        own.then(|| (root.join("sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes"))
    };
    let limit = |folder: &Path, file: &str| -> Option<u64> {
        fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    let places = groups.lines().filter_map(place);
    places
        .filter_map(|(folder, file)| folder.ancestors().filter_map(|folder| limit(folder, file)).min())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> Option<HostMemory> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        HostMemory::read_below(root.path())
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:  2097152 kB\nMemFree: 5 kB\nMemAvailable:  1048576 kB\nSwapTotal:  1048576 kB\n",
    );

    #[test]
    fn a_guest_is_compared_with_what_there_is_and_a_pinned_one_with_what_is_available() {
        let host = host(&[MEMINFO]).unwrap();
        let size = |text: &str| text.parse().unwrap();
        assert!(host.check_size(size("3G")).is_ok() && host.check_pinned(size("1G")).is_ok());
        let large = host.check_size(size("5000G")).unwrap_err().to_string();
        assert_eq!(large, "--memory 5000 GiB: this host has 3072 MiB, swap included");
        let pinned = host.check_pinned(size("1025M")).unwrap_err().to_string();
        assert!(pinned.contains("1024 MiB available"), "{pinned}");
    }

    #[test]
    fn a_control_group_limits_both() {
        let v2 = [
            MEMINFO,
            ("proc/self/cgroup", "1:name=systemd:/\n0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "536870912\n"),
        ];
        let limit = 512 << 20;
        assert_eq!(host(&v2), Some(HostMemory { total: limit, available: limit }));
        let v1 = [
            MEMINFO,
            ("proc/self/cgroup", "4:cpu,memory:/x\n0::/\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "536870912\n"),
        ];
        assert_eq!(host(&v1), Some(HostMemory { total: limit, available: limit }));
        assert_eq!(host(&[]), None);
    }
}
