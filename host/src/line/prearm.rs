//! Lines that nobody has and whose irqfd is attached: those that wait for an entry, and those that an entry has left.
//!
//! Neither kind has a route, and nothing signals their eventfds, so that nothing can come of them. A line that waits
//! spares MAP the eventfd and the `KVM_IRQFD`. A line that has retired must be detached before it is used again: an
//! injection that KVM has queued for it must not come out by a later route. The kernel waits for a grace period in each
//! de-assignment, and for that injection (`irqfd_shutdown` in virt/kvm/eventfd.c, Linux 6.12), so it is not done while a
//! guest waits.

use super::{Line, LineTable};
use std::collections::VecDeque;
use std::io;

/// The lines that nobody has.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Attached and never used; lowest GSI first, as the pool of GSIs gives them out.
    armed: VecDeque<Line>,
    /// Attached and used.
    retired: Vec<Line>,
    /// Those that did not come off: their irqfd may be attached or not, and nobody is to use them.
    stuck: Vec<Line>,
    retires: bool,
}

impl Waiting {
    /// Whether somebody detaches what retires.
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
    /// Lines that wait with their irqfd attached.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.waiting.armed.len()
    }

    /// Lines whose irqfd is still to be taken off.
    #[must_use]
    pub fn retired(&self) -> usize {
        self.waiting.retired.len()
    }

    /// Says whether somebody calls [`prearm`](Self::prearm) as long as there are lines that have retired. If not, every
    /// irqfd is detached at once.
    pub(crate) fn set_retires(&mut self, retires: bool) {
        self.waiting.retires = retires;
    }

    /// Does one piece of work ahead of the next entry, of which at most `max_armed` lines are to wait: takes off one irqfd
    /// that has retired, and arms its line anew if one is wanted, or arms a new line. One call costs two ioctls at most.
    ///
    /// # Errors
    /// The kernel's. A line that would not come off stays out of use, and is tried again at the next release.
    pub(crate) fn prearm(&mut self, max_armed: usize) -> io::Result<Progress> {
        let is_wanted = self.armed() < max_armed;
        let mut line = match self.waiting.retired.pop() {
            Some(mut line) => match self.detach(&mut line) {
                Ok(()) => line,
                Err(error) => {
                    self.waiting.stuck.push(line);
                    return Err(error);
                }
            },
            None if is_wanted && self.gsis.free() > 0 => Line::new()?,
            None => return Ok(Progress::Idle),
        };
        if !is_wanted {
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

    /// Nothing more is mapped: no line is to wait. Their irqfds are left to whoever takes them off, or taken off now.
    /// Answers as [`disarm`](Self::disarm).
    pub(crate) fn end_waiting(&mut self) -> Vec<(Option<u32>, io::Error)> {
        if self.waiting.retires {
            self.retire_armed();
            return Vec::new();
        }
        self.disarm()
    }

    /// Takes off every irqfd that nobody has, now. Answers with the GSIs and errors of those that would not come off;
    /// they are tried again with the next sweep.
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

    /// The last GSIs may be those of lines that nobody has: one of them is detached, and used as a new one.
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

    /// Tries again to take off the irqfds that nobody has and that did not come off before. Answers as
    /// [`disarm`](Self::disarm).
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
