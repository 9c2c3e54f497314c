//! Which eventfd a descriptor means: descriptor numbers are used again, the kernel's id is not while anybody holds it.

use crate::eventfd::EventFd;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};

/// The kernel's id of an eventfd (`fdinfo` of procfs); the descriptor number where the kernel does not say.
pub(super) fn id(eventfd: &EventFd) -> u64 {
    let fd = eventfd.as_raw_fd();
    id_of(fd).unwrap_or_else(|| u64::from(fd.unsigned_abs()) | 1 << 63)
}

fn id_of(fd: RawFd) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("eventfd-id:"))?.trim().parse().ok()
}

/// How many descriptors of this process mean one of `ids`.
pub(super) fn open_descriptors(ids: &[u64]) -> usize {
    let Ok(all) = fs::read_dir("/proc/self/fdinfo") else { return 0 };
    let fds = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    fds.filter_map(id_of).filter(|id| ids.contains(id)).count()
}
