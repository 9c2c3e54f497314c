//! Lines that no entry holds and whose irqfd is attached: armed ahead for an entry, or retired by one.
//!
//! Neither kind has a route, and nothing signals their eventfds, so no interrupt can come of them. An armed line
//! saves MAP the eventfd and the `KVM_IRQFD`. A retired line is not used again: its irqfd is taken off and its eventfd
//! closed, by [`IrqRouter::discard`](crate::kvm::IrqRouter::discard). The kernel waits for an RCU grace period when an
//! irqfd is taken off (`irqfd_shutdown` in virt/kvm/eventfd.c, Linux 6.12), so this is not done while a guest waits for
//! its call. A GSI is free again only when its irqfd is off, so the number of GSIs bounds what can be under way.

use super::{Line, LineTable};
use crate::work::Cost;
use std::collections::VecDeque;
use std::io;

/// Retired irqfds that are taken off at a time, while a guest's call may wait for the VM's lock: one wait of the kernel's
/// serves all of them. It does so for eventfds that nobody else has; of the others one is taken off at a time.
const BATCH: usize = 64;

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

    /// Does one piece of work ahead of the next entry: it takes off retired irqfds, at most [`BATCH`] of them, or else
    /// arms a new line if fewer than `max_armed` wait.
    ///
    /// # Errors
    /// The errno of `eventfd2` or `KVM_IRQFD`. A line whose irqfd could not be taken off stays out of use, and is
    /// tried again at the next release.
    pub(crate) fn prearm(&mut self, max_armed: usize) -> io::Result<Progress> {
        if !self.waiting.retired.is_empty() {
            return match self.discard_retired().pop() {
                None => Ok(Progress::Done),
                Some((_, error)) => Err(error),
            };
        }
        if self.armed() >= max_armed {
            return Ok(Progress::Idle);
        }
        let Some(gsi) = self.gsis.take() else { return Ok(Progress::Idle) };
        self.work.add(Cost::ATTACH);
        let armed = Line::new().and_then(|mut line| {
            line.set_gsi(gsi);
            line.attach(self.routes.router(), true).map(|()| line)
        });
        match armed {
            Ok(line) => self.waiting.armed.push_back(line),
            Err(error) => {
                self.gsis.give_back(gsi);
                return Err(error);
            }
        }
        Ok(Progress::Done)
    }

    /// Takes off the irqfds of some retired lines, at most [`BATCH`], and frees their GSIs and eventfds. The answer is
    /// that of [`disarm`](Self::disarm).
    fn discard_retired(&mut self) -> Vec<(Option<u32>, io::Error)> {
        let alone =
            self.waiting.retired.iter().rev().take(BATCH).take_while(|line| line.ends_with_its_eventfd());
        let count = alone.count().max(1);
        let kept = self.waiting.retired.len().saturating_sub(count);
        let lines: Vec<_> =
            self.waiting.retired.drain(kept..).filter_map(Line::into_eventfd_and_gsi).collect();
        let gsis: Vec<u32> = lines.iter().map(|(_, gsi)| *gsi).collect();
        self.work.add(Cost::CLOSE.times(lines.len()) + Cost::DETACH);
        let failed = self.routes.router().discard(lines);
        for gsi in gsis.into_iter().filter(|gsi| failed.iter().all(|(_, of, _)| of != gsi)) {
            self.gsis.give_back(gsi);
            self.freed += 1;
        }
        let keep = |(eventfd, gsi, error)| {
            self.waiting.stuck.push(Line::idle(eventfd, gsi));
            (Some(gsi), error)
        };
        failed.into_iter().map(keep).collect()
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
        let mut failed = Vec::new();
        while !self.waiting.retired.is_empty() {
            failed.append(&mut self.discard_retired());
        }
        let mut others: Vec<Line> = self.waiting.armed.drain(..).collect();
        others.append(&mut self.waiting.stuck);
        failed.append(&mut self.take_off(others));
        failed
    }

    fn retire_armed(&mut self) {
        let Waiting { armed, retired, .. } = &mut self.waiting;
        retired.extend(armed.drain(..));
    }

    /// Frees a GSI that is that of a line without an entry, and gives out a line that has it.
    pub(super) fn reclaim(&mut self) -> io::Result<Option<Line>> {
        if !self.waiting.retired.is_empty() {
            let failed = self.discard_retired().pop();
            let Some(gsi) = self.gsis.take() else { return failed.map_or(Ok(None), |(_, error)| Err(error)) };
            let mut line = Line::new().inspect_err(|_| self.gsis.give_back(gsi))?;
            line.set_gsi(gsi);
            return Ok(Some(line));
        }
        let Some(mut line) = self.waiting.armed.pop_front() else { return Ok(None) };
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
