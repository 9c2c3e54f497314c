//! Lines that leave: given back for good, or kept and tried again.

use super::{DeviceSet, LineError, LineOwner, LineTable, Lines};
use crate::device::Origin;

/// The lines of an entry that nobody has any more.
#[derive(Debug)]
pub struct Leaving {
    origin: Origin,
    lines: Lines,
}

impl Leaving {
    /// The lines of the entry `origin`, on their way down.
    #[must_use]
    pub fn new(origin: Origin, lines: Lines) -> Self {
        Self { origin, lines }
    }
}

impl LineOwner for Leaving {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn lines(&self) -> &Lines {
        &self.lines
    }

    fn lines_mut(&mut self) -> &mut Lines {
        &mut self.lines
    }
}

impl LineTable {
    /// Takes lines down and gives GSIs and eventfds back. What did not come off whole is kept, and tried again with
    /// every later release.
    pub fn release(&mut self, devices: &mut impl DeviceSet, mut leaving: Vec<Leaving>) -> Vec<LineError> {
        leaving.append(&mut self.unreleased);
        if leaving.is_empty() {
            return Vec::new();
        }
        let errors = self.bring_down(devices, &mut leaving);
        self.settle(leaving);
        errors
    }

    /// Gives back lines that were brought down: GSIs and eventfds of those that hold nothing, at once or once their irqfd
    /// is taken off; the others are kept.
    pub fn settle(&mut self, leaving: impl IntoIterator<Item = Leaving>) {
        for Leaving { origin, lines } in leaving {
            if self.are_down(&lines) {
                lines.consume(|line| match line.is_attached() {
                    true => self.waiting.retire(line),
                    false => self.dispose(line),
                });
            } else {
                self.unreleased.push(Leaving { origin, lines });
            }
        }
    }

    /// Tries again what did not come off before, of the entries that `which` picks.
    pub fn sweep(
        &mut self,
        devices: &mut impl DeviceSet,
        mut which: impl FnMut(&Origin) -> bool,
    ) -> Vec<LineError> {
        let mut again = Vec::new();
        let mut at = 0;
        while let Some(kept) = self.unreleased.get(at) {
            if which(&kept.origin) {
                again.push(self.unreleased.swap_remove(at));
            } else {
                at += 1;
            }
        }
        if again.is_empty() {
            return Vec::new();
        }
        let errors = self.bring_down(devices, &mut again);
        self.settle(again);
        errors
    }

    /// Whether the interrupt of an entry was to be stopped, and may still be started, of those entries that `which`
    /// picks.
    #[must_use]
    #[inline]
    pub fn may_be_started(&self, mut which: impl FnMut(&Origin) -> bool) -> bool {
        self.unreleased.iter().any(|kept| kept.lines.is_started() && which(&kept.origin))
    }

    /// Whether something did not come off, of those entries that `which` picks.
    #[must_use]
    pub fn has_unreleased(&self, mut which: impl FnMut(&Origin) -> bool) -> bool {
        self.unreleased.iter().any(|kept| which(&kept.origin))
    }

    /// The interrupts of the entries that `which` picks have ended by themselves, with their device.
    pub fn has_ended(&mut self, mut which: impl FnMut(&Origin) -> bool) {
        for Leaving { lines, .. } in self.unreleased.iter_mut().filter(|kept| which(&kept.origin)) {
            lines.have_ended();
        }
    }
}
