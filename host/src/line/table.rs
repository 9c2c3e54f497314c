//! All lines of a VM have their GSIs and routes from here.

use super::prearm::Waiting;
use super::{Leaving, Line, Lines};
use crate::kvm::{GsiPool, IrqRouter, RouteTable};
use crate::message::Message;
use std::io;

/// What the lines of a VM share: KVM's routing table, the GSIs that are free, and the lines that nobody has.
pub struct LineTable {
    pub(super) routes: RouteTable,
    pub(super) gsis: GsiPool,
    pub(super) waiting: Waiting,
    /// What could not be released, until it is.
    pub(super) unreleased: Vec<Leaving>,
    /// Grows whenever something becomes free that somebody may have been refused.
    pub(super) freed: u64,
}

impl LineTable {
    /// Over KVM and the GSIs that are free in it.
    #[must_use]
    pub fn new(router: Box<dyn IrqRouter>, gsis: GsiPool) -> Self {
        Self {
            routes: RouteTable::new(router),
            gsis,
            waiting: Waiting::default(),
            unreleased: Vec::new(),
            freed: 0,
        }
    }

    /// A line that nobody has, with a GSI: if `prearmed` is wanted one that waits with its irqfd attached, where there is
    /// one. `None` if all GSIs are taken.
    ///
    /// # Errors
    /// The kernel's, where it has no descriptor left, or would not detach the irqfd that has the last GSI.
    #[inline]
    pub fn take(&mut self, prearmed: bool) -> io::Result<Option<Line>> {
        if let Some(line) = prearmed.then(|| self.waiting.take()).flatten() {
            return Ok(Some(line));
        }
        let Some(gsi) = self.gsis.take() else { return self.reclaim() };
        match Line::new() {
            Ok(mut line) => {
                line.set_gsi(gsi);
                Ok(Some(line))
            }
            Err(error) => {
                self.gsis.give_back(gsi);
                Err(error)
            }
        }
    }

    /// Gives a GSI to a line that has none. `false` if all are taken.
    ///
    /// # Errors
    /// The kernel's, where it would not detach the irqfd that has the last GSI.
    pub fn give_gsi(&mut self, line: &mut Line) -> io::Result<bool> {
        if line.gsi().is_none() {
            let gsi = match self.gsis.take() {
                None => self.reclaim()?.and_then(|last| last.gsi()),
                free => free,
            };
            gsi.into_iter().for_each(|gsi| line.set_gsi(gsi));
        }
        Ok(line.gsi().is_some())
    }

    /// Takes lines back that were never routed and never started: what was armed waits again.
    pub fn put_back(&mut self, lines: Lines) {
        lines.consume(|line| match line.is_attached() {
            true => self.waiting.put_back(line),
            false => self.dispose(line),
        });
    }

    /// Whether the line's GSI has a route in KVM's table.
    #[must_use]
    #[inline]
    pub fn is_routed(&self, line: &Line) -> bool {
        line.gsi().is_some_and(|gsi| self.routes.has(gsi))
    }

    /// What the line's GSI injects.
    #[must_use]
    #[inline]
    pub fn message(&self, line: &Line) -> Option<Message> {
        line.gsi().and_then(|gsi| self.routes.get(gsi))
    }

    /// Whether the routes of an entry stand in KVM's table and only an irqfd is missing.
    #[must_use]
    #[inline]
    pub fn await_irqfd(&self, lines: &Lines) -> bool {
        lines.iter().any(|line| !line.is_attached() && self.is_routed(line))
    }

    /// Whether nothing can come of the lines of an entry: they have no route, and no device signals them.
    #[must_use]
    #[inline]
    pub fn are_down(&self, lines: &Lines) -> bool {
        lines.iter().all(|line| !line.is_started() && !self.is_routed(line))
    }

    /// Says what a line's GSI is to inject from the next [`apply`](Self::apply) on; `None` drops its route. The route of an
    /// irqfd whose device is started stays where it is.
    #[inline]
    pub fn stage(&mut self, line: &Line, message: Option<Message>) {
        if let Some(gsi) = line.gsi().filter(|_| message.is_some() || line.may_lose_route()) {
            self.routes.change(gsi, message);
        }
    }

    /// Makes room for so many changes that add a route.
    pub fn reserve(&mut self, added: usize) {
        self.routes.reserve(added);
    }

    /// Makes all that was staged, with one `KVM_SET_GSI_ROUTING`, or with none if nothing changes.
    ///
    /// # Errors
    /// The kernel's; all routes are then as before.
    pub fn apply(&mut self) -> io::Result<()> {
        self.routes.apply()
    }

    /// Attaches the eventfd of a line that is routed; what it has counted is delivered by that.
    ///
    /// # Errors
    /// The kernel's; nothing is then attached.
    #[inline]
    pub fn attach(&mut self, line: &mut Line) -> io::Result<()> {
        if line.is_attached() || !self.is_routed(line) {
            return Ok(());
        }
        line.attach(self.routes.router(), false)
    }

    /// Detaches the eventfd of a line: from then on it counts.
    ///
    /// # Errors
    /// The kernel's; it then counts as attached.
    pub fn detach(&mut self, line: &mut Line) -> io::Result<()> {
        line.detach(self.routes.router())
    }

    /// Attaches every eventfd of an entry that is routed and not attached: all of the entry's, or none.
    ///
    /// # Errors
    /// The kernel's, for the first that failed.
    #[inline]
    pub fn attach_all(&mut self, lines: &mut Lines) -> io::Result<()> {
        let lines = match lines {
            Lines::One(line) => return self.attach(line),
            Lines::Several(lines) => lines,
        };
        for place in 0..lines.len() {
            if let Err(error) = self.attach(&mut lines[place]) {
                // The first failure is the one to report; what stays attached is known by the line.
                let _ = lines[..place].iter_mut().try_for_each(|line| self.detach(line));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Detaches every eventfd of an entry, also if one of them fails.
    ///
    /// # Errors
    /// The kernel's, for the first that failed.
    pub fn detach_all(&mut self, lines: &mut Lines) -> io::Result<()> {
        let mut result = Ok(());
        for line in lines.iter_mut() {
            result = result.and(self.detach(line));
        }
        result
    }

    /// Grows whenever something of the kernel's has been given back: who was refused may try again.
    #[must_use]
    pub fn freed(&self) -> u64 {
        self.freed
    }

    /// Number of GSIs that are free.
    #[must_use]
    pub fn free_gsis(&self) -> u32 {
        self.gsis.free()
    }

    /// The end of a line that holds nothing.
    pub(super) fn dispose(&mut self, line: Line) {
        self.freed += 1;
        line.gsi().into_iter().for_each(|gsi| self.gsis.give_back(gsi));
        drop(line);
    }
}
