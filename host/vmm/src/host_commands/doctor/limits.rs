//! Limits of this process that a guest meets: locked memory and open files.

use std::fs;

use pvir_host::isolation::Host;
use pvir_host::vfio::VfioWay;

use super::check::Check;

/// Memory of a guest where nothing else is said, all of which VFIO locks.
const GUEST: u64 = 256 << 20;
/// Of a device with 2048 vectors: an eventfd each, of an emulated one two; and what a VM needs besides.
const FILES: u64 = 2 * 2048 + 64;

/// Both.
pub(super) fn checks(host: &Host) -> Vec<Check> {
    let text = fs::read_to_string(host.path("proc/self/limits")).unwrap_or_default();
    let status = fs::read_to_string(host.path("proc/self/status")).unwrap_or_default();
    let by_cdev = VfioWay::Cdev.check_host(host).is_ok();
    vec![memory(&text, may_lock_all(&status), by_cdev), files(&text)]
}

/// The soft and the hard limit with this name (proc_pid_limits(5)); `u64::MAX` for none.
fn limit(text: &str, name: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace();
    let mut next = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((next()?, next()?))
}

/// CAP_IPC_LOCK, bit 14 of the effective capabilities.
fn may_lock_all(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> 14 & 1 != 0)
}

/// `by_cdev`: this user may use iommufd, which counts for the user what a container counts for the process.
fn memory(text: &str, unlimited: bool, by_cdev: bool) -> Check {
    const NAME: &str = "locked memory";
    if unlimited {
        return Check::ok(NAME, "this user may lock all memory (CAP_IPC_LOCK)");
    }
    let whose = if by_cdev { " (with --vfio cdev by all VMs of this user together)" } else { "" };
    match limit(text, "Max locked memory") {
        None => Check::skip(NAME, "/proc/self/limits cannot be read", "mount /proc"),
        Some((u64::MAX, _)) => Check::ok(NAME, "no limit"),
        Some((soft, _)) if soft >= GUEST => Check::ok(
            NAME,
            format!("{} MiB may be locked{whose}: guests with a host device need less than that", soft >> 20),
        ),
        Some((soft, _)) => Check::warn(
            NAME,
            format!(
                "{} KiB may be locked{whose}; a guest of 256 MiB with a host device locks all of its memory",
                soft >> 10
            ),
            "run as root, or `ulimit -l unlimited` (limits.conf(5): memlock)",
        ),
    }
}

fn files(text: &str) -> Check {
    const NAME: &str = "open files";
    match limit(text, "Max open files") {
        None => Check::skip(NAME, "/proc/self/limits cannot be read", "mount /proc"),
        // `pvir run` raises the soft limit itself.
        Some((_, hard)) if hard >= FILES => Check::ok(NAME, format!("{hard}: enough for 2048 vectors")),
        Some((_, hard)) => Check::warn(
            NAME,
            format!("{hard}: too few for 2048 vectors, which take {FILES}"),
            "`ulimit -Hn 8192` as root (limits.conf(5): nofile)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_commands::doctor::check::Level;

    const TEXT: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                        Max open files            1024                 4096                 files     \n\
                        Max locked memory         8388608              unlimited            bytes     \n";

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(limit(TEXT, "Max open files"), Some((1024, 4096)));
        assert_eq!(limit(TEXT, "Max locked memory"), Some((8 << 20, u64::MAX)));
        assert_eq!(limit(TEXT, "Max what"), None);
    }

    #[test]
    fn too_little_is_warned_of() {
        assert_eq!(memory(TEXT, false, false).level, Level::Warn);
        assert_eq!(memory(TEXT, true, false).level, Level::Ok);
        assert_eq!(memory(&TEXT.replace("8388608", "unlimited"), false, false).level, Level::Ok);
        assert_eq!(memory(&TEXT.replace("8388608", "536870912"), false, false).level, Level::Ok);
        assert_eq!(memory("", false, false).level, Level::Skip);
        assert_eq!(files(TEXT).level, Level::Warn);
        assert_eq!(files(&TEXT.replace("4096", "8192")).level, Level::Ok);
    }

    #[test]
    fn iommufd_counts_for_the_user() {
        let said = |by_cdev| memory(TEXT, false, by_cdev).what;
        assert!(said(true).contains("(with --vfio cdev by all VMs of this user together)"), "{}", said(true));
        assert!(!said(false).contains("together"), "{}", said(false));
    }

    #[test]
    fn the_capability_is_bit_14() {
        assert!(may_lock_all("Name: x\nCapEff:\t0000000000004000\n"));
        assert!(!may_lock_all("CapEff:\t0000000000002000\n"));
        assert!(!may_lock_all(""));
    }
}
