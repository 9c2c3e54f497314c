//! The kernel's own count of exits to user space, by reason, from its tracepoint `kvm:kvm_userspace_exit`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const EVENT: &str = "/sys/kernel/tracing/events/kvm/kvm_userspace_exit";
const HISTOGRAM: &str = "hist:keys=reason,errno";

/// Reasons of `linux/kvm.h`.
pub(crate) const IO: u64 = 2;
pub(crate) const HYPERCALL: u64 = 3;
pub(crate) const MMIO: u64 = 6;
pub(crate) const RDMSR: u64 = 29;
pub(crate) const WRMSR: u64 = 30;
pub(crate) const XEN: u64 = 34;

/// Counts from its start on; stops when dropped.
pub(crate) struct Trace(());

/// Exits by reason; signals and the like, which are no exits of the guest's, are not in it.
pub(crate) type Exits = BTreeMap<u64, u64>;

impl Trace {
    /// Whether this machine's kernel has the tracepoint, and shows it.
    pub(crate) fn is_there() -> bool {
        Path::new(EVENT).is_dir()
    }

    pub(crate) fn start() -> Result<Self> {
        write(HISTOGRAM).context("cannot count kvm_userspace_exit")?;
        Ok(Self(()))
    }

    /// The counts so far.
    pub(crate) fn exits(&self) -> Result<Exits> {
        let text = fs::read_to_string(format!("{EVENT}/hist"))?;
        let exits = parse(&text);
        ensure!(text.contains("Dropped: 0"), "the kernel dropped events:\n{text}");
        Ok(exits)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // one that cannot be removed is counted on, and shows in the next case
        let _ = write(&format!("!{HISTOGRAM}"));
    }
}

fn write(trigger: &str) -> std::io::Result<()> {
    fs::write(format!("{EVENT}/trigger"), trigger)
}

fn parse(text: &str) -> Exits {
    let entry = |line: &str| {
        let (keys, count) = line.strip_prefix("{ reason:")?.split_once("} hitcount:")?;
        let (reason, errno) = keys.split_once(", errno:")?;
        let exit = (reason.trim().parse().ok()?, count.trim().parse().ok()?);
        (errno.trim() == "0").then_some(exit)
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_told_from_signals() {
        let text = "# event histogram\n\n\
            { reason:         10, errno: 18446744073709551612 } hitcount:          1\n\
            { reason:         34, errno:          0 } hitcount:          9\n\
            { reason:          2, errno:          0 } hitcount:      10076\n\nTotals:\n    Hits: 10086\n";
        assert_eq!(parse(text), Exits::from([(XEN, 9), (IO, 10_076)]));
    }
}
