//! The lab's machine itself was lost: not the command in it, and not by a fault that its kernel tells of.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// L1 hangs, or was reset, and its kernel has said nothing of a crash. QEMU's emulator has defects of its own that end
/// like this (docs/lab-notes.md). Whoever wants to can begin anew; a fault of ours that hangs L1 does so again.
#[derive(Debug)]
pub(crate) struct MachineLost {
    /// Whether the command had been started.
    pub(crate) begun: bool,
    pub(super) text: String,
}

impl fmt::Display for MachineLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for MachineLost {}

/// How many machines came to the end in the place of lost ones.
static MADE_UP_FOR: AtomicUsize = AtomicUsize::new(0);

/// Says that `what` is begun anew in another machine.
pub(crate) fn starts_again(what: &str, lost: &MachineLost) {
    eprintln!("LOST  {what}: run once more in another machine: {lost}");
}

/// Counts that the other machine was not lost: a second loss is a failure, which counts by itself.
pub(crate) fn is_made_up_for() {
    MADE_UP_FOR.fetch_add(1, Ordering::Relaxed);
}

/// For the end of all, if it has happened.
pub(crate) fn all_lost() -> Option<String> {
    let count = MADE_UP_FOR.load(Ordering::Relaxed);
    (count > 0).then(|| format!("machines of the lab that were lost, and whose tests ran once more: {count}"))
}
