//! Lines armed ahead: an eventfd attached to a GSI before an entry wants it, so that MAP asks the kernel for neither.
//!
//! A line that waits here has no route, and nothing signals its eventfd: MAP sets the route and only then starts the
//! device's interrupt, as it does with a line that it makes itself. It is used once. What UNMAP gives back is detached
//! and closed, and another one is armed in its place, so that nothing of an entry's past reaches the next one.
//!
//! Only a guest that has enabled pvir has any, and no more than it can still map: when all is mapped, none waits.

use super::Service;
use super::vm::Vm;
use crate::irte::{Line, Lines};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// The lines that wait.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Lowest GSI first, as the pool of GSIs gives them out.
    lines: VecDeque<Line>,
    most: usize,
    /// Those that are on their way down.
    leaving: Vec<Line>,
}

impl Ahead {
    /// At most `most`.
    pub(super) fn new(most: u32) -> Self {
        Self { most: most as usize, ..Self::default() }
    }
}

/// An eventfd as every line has one.
fn eventfd() -> io::Result<EventFd> {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
}

impl Vm {
    /// How many are to wait: no more than can still be mapped.
    fn wanted_ahead(&self) -> usize {
        if self.session.is_none() || self.ahead.most == 0 {
            return 0;
        }
        let open = self.devices.iter().filter(|(_, attached)| attached.open);
        let left = open.map(|(_, attached)| {
            let of = attached.capabilities;
            let entries = of.msix_entries.max(of.ims_entries).max(of.msi_messages);
            entries.min(self.max_irtes_per_device).saturating_sub(attached.held)
        });
        let left = left.fold(0, u32::saturating_add).min(self.max_irtes.saturating_sub(self.held));
        self.ahead.most.min(left as usize)
    }

    /// Whether fewer than half of them wait: then it is time to arm more, and not after every single MAP.
    pub(super) fn lacks_ahead(&self) -> bool {
        2 * self.ahead.lines.len() < self.wanted_ahead()
    }

    /// Arms one more, if one more is wanted. Answers whether it did.
    fn arm_one(&mut self, eventfd: EventFd) -> io::Result<bool> {
        if self.ahead.lines.len() >= self.wanted_ahead() {
            return Ok(false);
        }
        let Some(gsi) = self.gsis.take() else { return Ok(false) };
        match self.routes.router().arm(&eventfd, gsi) {
            Ok(()) => self.ahead.lines.push_back(Line { attached: true, ..Line::new(gsi, eventfd) }),
            Err(error) => {
                self.gsis.give_back(gsi);
                return Err(error);
            }
        }
        Ok(true)
    }

    /// A GSI with its eventfd: armed, if one waits and `armed` is wanted; `None` if all GSIs are taken.
    pub(super) fn take_line(&mut self, armed: bool) -> io::Result<Option<Line>> {
        if let Some(line) = armed.then(|| self.ahead.lines.pop_front()).flatten() {
            return Ok(Some(line));
        }
        match self.gsis.take() {
            None => self.disarm_one(),
            Some(gsi) => match eventfd() {
                Ok(eventfd) => Ok(Some(Line::new(gsi, eventfd))),
                Err(error) => {
                    self.gsis.give_back(gsi);
                    Err(error)
                }
            },
        }
    }

    /// The last GSIs may be among those that wait.
    fn disarm_one(&mut self) -> io::Result<Option<Line>> {
        let Some(mut line) = self.ahead.lines.pop_front() else { return Ok(None) };
        match self.routes.router().detach(&line.eventfd, line.gsi) {
            Ok(()) => {
                line.attached = false;
                Ok(Some(line))
            }
            Err(error) => {
                // It may be attached or not: nobody is to use it.
                self.ahead.leaving.push(line);
                Err(error)
            }
        }
    }

    /// Takes lines back that were never routed: armed ones wait again.
    pub(super) fn put_back(&mut self, lines: Lines) {
        for line in lines {
            if line.attached {
                self.ahead.lines.push_front(line);
            } else {
                self.gsis.give_back(line.gsi);
            }
        }
    }

    /// Takes all that wait off and closes them: the guest maps nothing more.
    pub(super) fn disarm(&mut self) {
        self.ahead.leaving.extend(self.ahead.lines.drain(..));
        self.take_leaving_off();
    }

    /// What does not come off is tried again by every later sweep, and its GSI stays out of use until then.
    pub(super) fn take_leaving_off(&mut self) {
        if self.ahead.leaving.is_empty() {
            return;
        }
        let mut leaving = std::mem::take(&mut self.ahead.leaving);
        let attached: Vec<_> = leaving.iter().map(|line| (&line.eventfd, line.gsi)).collect();
        let failed = self.routes.router().detach_all(&attached);
        for (place, error) in &failed {
            let gsi = leaving[*place].gsi;
            self.log.warn(|| format!("detaching GSI {gsi}, which was armed ahead, failed: {error}"));
        }
        let mut places = 0..;
        leaving.retain(|line| {
            let stays = places.next().is_some_and(|place| failed.iter().any(|(of, _)| *of == place));
            if !stays {
                self.gsis.give_back(line.gsi);
            }
            stays
        });
        self.ahead.leaving = leaving;
    }
}

impl Service {
    /// Arms as many lines as are wanted ahead ([`Config::armed_ahead`](super::Config::armed_ahead)). A call of the guest
    /// that comes meanwhile goes first, and waits for one line at most. [`PrearmThread`](super::PrearmThread) does this in a thread.
    pub fn arm_ahead(&self) {
        loop {
            while self.waiting.load(Ordering::Relaxed) > 0 {
                thread::yield_now();
            }
            let armed = eventfd().and_then(|eventfd| self.lock().arm_one(eventfd));
            match armed {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // MAP makes what it needs by itself, and tells the guest if it cannot.
                    self.lock().log.warn(|| format!("arming an irqfd ahead failed: {error}"));
                    return;
                }
            }
        }
    }

    /// Lines that wait, armed ahead.
    #[must_use]
    pub fn armed_ahead(&self) -> usize {
        self.lock().ahead.lines.len()
    }
}
