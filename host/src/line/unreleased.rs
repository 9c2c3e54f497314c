//! Lines without an owner: given back, or kept and tried again if a step of the way down failed.

use super::{DeviceSet, EntryLines, LineError, LineTable};
use crate::device::Origin;

impl LineTable {
    /// Takes the lines of `leaving` down and gives their GSIs and eventfds back. Lines of which a step failed are
    /// kept, and every later release tries them again. The answer has every error.
    pub fn release(&mut self, devices: &mut impl DeviceSet, mut leaving: Vec<EntryLines>) -> Vec<LineError> {
        leaving.append(&mut self.unreleased);
        if leaving.is_empty() {
            return Vec::new();
        }
        let errors = self.bring_down(devices, &mut leaving);
        self.settle(leaving);
        errors
    }

    /// Gives back lines that [`bring_down`](Self::bring_down) has taken down: their GSIs and eventfds are free at
    /// once, or once a retired irqfd is detached. Lines that still hold something are kept.
    pub fn settle(&mut self, leaving: impl IntoIterator<Item = EntryLines>) {
        for EntryLines { origin, lines } in leaving {
            if self.are_down(&lines) {
                lines.consume(|line| match line.is_attached() {
                    true => self.waiting.retire(line),
                    false => self.dispose(line),
                });
            } else {
                self.unreleased.push(EntryLines { origin, lines });
            }
        }
    }

    /// Tries again to take down the lines that are kept, of those entries that `which` picks. The answer has every
    /// error.
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

    /// Whether an interrupt that was to be stopped may still be started, of those kept entries that `which` picks.
    #[must_use]
    #[inline]
    pub fn may_be_started(&self, mut which: impl FnMut(&Origin) -> bool) -> bool {
        self.unreleased.iter().any(|kept| kept.lines.is_started() && which(&kept.origin))
    }

    /// Number of kept entries whose interrupt was to be stopped and may still be started, of those that `which` picks.
    #[must_use]
    pub fn unstopped(&self, mut which: impl FnMut(&Origin) -> bool) -> usize {
        self.unreleased.iter().filter(|kept| kept.lines.is_started() && which(&kept.origin)).count()
    }

    /// Whether lines are kept because a step of their way down failed, of those entries that `which` picks.
    #[must_use]
    pub fn has_unreleased(&self, mut which: impl FnMut(&Origin) -> bool) -> bool {
        self.unreleased.iter().any(|kept| which(&kept.origin))
    }

    /// Marks the interrupts of the kept entries that `which` picks as stopped, because their device has ended them.
    pub fn has_ended(&mut self, mut which: impl FnMut(&Origin) -> bool) {
        for EntryLines { lines, .. } in self.unreleased.iter_mut().filter(|kept| which(&kept.origin)) {
            lines.have_ended();
        }
    }
}
