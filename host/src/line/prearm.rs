//! Lines that no entry holds and whose irqfd is attached: armed ahead for an entry, or retired by one.
//!
//! Neither kind has a route, and nothing signals their eventfds, so no interrupt can come of them. An armed line
//! saves MAP the eventfd and the `KVM_IRQFD`. A retired line is detached before it is used again, because an
//! injection that KVM has queued for it must not be delivered by a later route. Each de-assignment waits in the
//! kernel for an RCU grace period and for that injection (`irqfd_shutdown` in virt/kvm/eventfd.c, Linux 6.12), so it
//! is not done while a guest waits for its call.

use super::{Line, LineTable};
use std::collections::VecDeque;
use std::io;

/// The attached lines that no entry holds.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Attached and never used; lowest GSI first, as the pool of GSIs gives them out.
    armed: VecDeque<Line>,
    /// Attached, and used by an entry before.
    retired: Vec<Line>,
    /// Lines whose irqfd could not be detached and may still be attached. They are out of use until a later try
    /// succeeds.
    stuck: Vec<Line>,
    retires: bool,
}

impl Waiting {
    /// Whether another thread detaches retired lines.
    pub(super) fn retires(&self) -> bool {
        self.retires
    }

    #[inline]
    pub(super) fn take(&mut self) -> Option<Line> {
        self.armed.pop_front()
    }

    pub(super) fn put_back(&mut self, line: Line) {
        self.armed.push_front(line);
    }

    pub(super) fn retire(&mut self, line: Line) {
        self.retired.push(line);
    }
}

/// What one step of [`LineTable::prearm`] found to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Something was done; there may be more.
    Done,
    /// There is nothing to do.
    Idle,
}

impl LineTable {
    /// Number of lines that are armed ahead and wait for an entry.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.waiting.armed.len()
    }

    /// Number of lines whose irqfd is still to be detached.
    #[must_use]
    pub fn retired(&self) -> usize {
        self.waiting.retired.len()
    }

    /// Sets whether another thread calls [`prearm`](Self::prearm) for as long as there are retired lines. If none
    /// does, every irqfd is detached on the way down.
    pub(crate) fn set_retires(&mut self, retires: bool) {
        self.waiting.retires = retires;
    }

    /// Does one piece of work ahead of the next entry, with at most two ioctls. It detaches one retired irqfd and
    /// arms its line anew if fewer than `max_armed` lines wait; without a retired irqfd it arms a new line.
    ///
    /// # Errors
    /// The errno of `eventfd2` or `KVM_IRQFD`. A line whose irqfd could not be detached stays out of use, and is
    /// tried again at the next release.
    pub(crate) fn prearm(&mut self, max_armed: usize) -> io::Result<Progress> {
        let is_needed = self.armed() < max_armed;
        let mut line = match self.waiting.retired.pop() {
            Some(mut line) => match self.detach(&mut line) {
                Ok(()) => line,
                Err(error) => {
                    self.waiting.stuck.push(line);
                    return Err(error);
                }
            },
            None if is_needed && self.gsis.free() > 0 => Line::new()?,
            None => return Ok(Progress::Idle),
        };
        if !is_needed {
            self.dispose(line);
            return Ok(Progress::Done);
        }
        if line.gsi().is_none() {
            self.gsis.take().into_iter().for_each(|gsi| line.set_gsi(gsi));
        }
        match line.attach(self.routes.router(), true) {
            Ok(()) => {
                self.waiting.armed.push_back(line);
                Ok(Progress::Done)
            }
            Err(error) => {
                self.dispose(line);
                Err(error)
            }
        }
    }

    /// Ends the waiting of armed lines, because nothing more will be mapped. Their irqfds are left to the thread that
    /// detaches retired lines, or detached now. The answer is that of [`disarm`](Self::disarm).
    pub(crate) fn end_waiting(&mut self) -> Vec<(Option<u32>, io::Error)> {
        if self.waiting.retires {
            self.retire_armed();
            return Vec::new();
        }
        self.disarm()
    }

    /// Detaches every irqfd that no entry holds, now. The answer has the GSI and errno of each that could not be
    /// detached; these are tried again with the next sweep.
    pub(crate) fn disarm(&mut self) -> Vec<(Option<u32>, io::Error)> {
        self.retire_armed();
        let mut all = std::mem::take(&mut self.waiting.retired);
        all.append(&mut self.waiting.stuck);
        self.take_off(all)
    }

    fn retire_armed(&mut self) {
        let Waiting { armed, retired, .. } = &mut self.waiting;
        retired.extend(armed.drain(..));
    }

    /// Detaches a line that no entry holds and gives it out, because the last GSIs may be those of such lines.
    pub(super) fn reclaim(&mut self) -> io::Result<Option<Line>> {
        let line = self.waiting.retired.pop().or_else(|| self.waiting.armed.pop_front());
        let Some(mut line) = line else { return Ok(None) };
        match self.detach(&mut line) {
            Ok(()) => Ok(Some(line)),
            Err(error) => {
                self.waiting.stuck.push(line);
                Err(error)
            }
        }
    }

    /// Tries again to detach the irqfds of stuck lines. The answer is that of [`disarm`](Self::disarm).
    pub(crate) fn take_off_stuck(&mut self) -> Vec<(Option<u32>, io::Error)> {
        let stuck = std::mem::take(&mut self.waiting.stuck);
        self.take_off(stuck)
    }

    fn take_off(&mut self, lines: Vec<Line>) -> Vec<(Option<u32>, io::Error)> {
        let mut failed = Vec::new();
        for mut line in lines {
            match self.detach(&mut line) {
                Ok(()) => self.dispose(line),
                Err(error) => {
                    failed.push((line.gsi(), error));
                    self.waiting.stuck.push(line);
                }
            }
        }
        failed
    }
}
