//! All lines of a VM: their GSIs, their routes, and the lines that no entry holds.

use super::prearm::Waiting;
use super::{EntryLines, Line, Lines};
use crate::kvm::{GsiPool, IrqRouter, RouteTable};
use crate::message::Message;
use crate::work::{Cost, WorkMeter};
use std::cell::Cell;
use std::io;

/// What the lines of a VM share: KVM's routing table, the free GSIs, and the lines that no entry holds.
pub struct LineTable {
    pub(super) routes: RouteTable,
    pub(super) gsis: GsiPool,
    pub(super) waiting: Waiting,
    /// Lines whose way down failed, until a later try succeeds.
    pub(super) unreleased: Vec<EntryLines>,
    /// Grows whenever something becomes free for which an earlier request may have been refused.
    pub(super) freed: u64,
    pub(super) work: WorkMeter,
    /// Whether an interrupt was started since somebody asked.
    pub(super) started: Cell<bool>,
}

impl LineTable {
    /// A table over KVM's `router`, with the free GSIs of `gsis`.
    #[must_use]
    pub fn new(router: Box<dyn IrqRouter>, gsis: GsiPool) -> Self {
        Self {
            routes: RouteTable::new(router),
            gsis,
            waiting: Waiting::default(),
            unreleased: Vec::new(),
            freed: 0,
            work: WorkMeter::default(),
            started: Cell::new(false),
        }
    }

    /// A line with a GSI that no entry holds. If `prearmed` is set, this is a line that was armed ahead, where there
    /// is one. `None` if all GSIs are in use.
    ///
    /// # Errors
    /// The errno of `eventfd2`; or, if the last GSI belongs to a retired line, the errno of the `KVM_IRQFD` that
    /// should have detached it.
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

    /// Gives a GSI to a line that has none. `false` if all GSIs are in use.
    ///
    /// # Errors
    /// If the last GSI belongs to a retired line: the errno of the `KVM_IRQFD` that should have detached it.
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

    /// Takes back lines that were never routed and never started. Lines that were armed ahead wait again for an
    /// entry.
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

    /// The message that the line's GSI injects; `None` if the GSI has no route.
    #[must_use]
    #[inline]
    pub fn message(&self, line: &Line) -> Option<Message> {
        line.gsi().and_then(|gsi| self.routes.get(gsi))
    }

    /// Whether an entry's routes are in KVM's table and at least one of its eventfds is not attached.
    #[must_use]
    #[inline]
    pub fn await_irqfd(&self, lines: &Lines) -> bool {
        lines.iter().any(|line| !line.is_attached() && self.is_routed(line))
    }

    /// Whether no interrupt can come through an entry's lines: no GSI of them has a route, and no device signals
    /// them.
    #[must_use]
    #[inline]
    pub fn are_down(&self, lines: &Lines) -> bool {
        lines.iter().all(|line| !line.is_started() && !self.is_routed(line))
    }

    /// Sets the message that a line's GSI injects from the next [`apply`](Self::apply) on; `None` drops its route. A
    /// request to drop the route of an irqfd whose device is started is ignored.
    #[inline]
    pub fn stage(&mut self, line: &mut Line, message: Option<Message>) {
        if message.is_some_and(|message| !message.is_fixed_physical()) {
            line.set_may_be_queued();
        }
        if let Some(gsi) = line.gsi().filter(|_| message.is_some() || line.may_lose_route()) {
            self.routes.change(gsi, message);
        }
    }

    /// Makes room for so many changes that add a route.
    pub fn reserve(&mut self, added: usize) {
        self.routes.reserve(added);
    }

    /// Gives all staged changes to KVM with one `KVM_SET_GSI_ROUTING`; without a change there is no ioctl.
    ///
    /// # Errors
    /// The errno of `KVM_SET_GSI_ROUTING`. All routes are then as they were before the changes.
    pub fn apply(&mut self) -> io::Result<()> {
        if self.routes.has_changes() {
            self.work.add(Cost::routing(self.routes.len()));
        }
        self.routes.apply()
    }

    /// Attaches a line's eventfd to its GSI, if the GSI has a route. An interrupt that the eventfd holds is injected
    /// by it.
    ///
    /// # Errors
    /// The errno of `KVM_IRQFD`. The eventfd is then not attached.
    #[inline]
    pub fn attach(&mut self, line: &mut Line) -> io::Result<()> {
        if line.is_attached() || !self.is_routed(line) {
            return Ok(());
        }
        self.work.add(Cost::ATTACH);
        line.attach(self.routes.router(), false)
    }

    /// Detaches a line's eventfd from its GSI. From then on signals add up in the eventfd's counter.
    ///
    /// # Errors
    /// The errno of `KVM_IRQFD`. The line then counts as attached.
    pub fn detach(&mut self, line: &mut Line) -> io::Result<()> {
        if line.is_attached() {
            self.work.add(Cost::DETACH);
        }
        line.detach(self.routes.router())
    }

    /// Attaches every eventfd of an entry that has a route and is not attached: all of them, or none.
    ///
    /// # Errors
    /// The errno of the first `KVM_IRQFD` that failed.
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
    /// The errno of the first `KVM_IRQFD` that failed.
    pub fn detach_all(&mut self, lines: &mut Lines) -> io::Result<()> {
        let mut result = Ok(());
        for line in lines.iter_mut() {
            result = result.and(self.detach(line));
        }
        result
    }

    /// Injects a message that comes from no device ([`IrqRouter::signal`]).
    ///
    /// # Errors
    /// The errno of `KVM_SIGNAL_MSI`. Nothing is then injected.
    pub fn signal(&mut self, message: Message) -> io::Result<()> {
        self.routes.router().signal(message)
    }

    /// A counter that grows whenever a resource of the kernel's has been given back. A request that was refused for
    /// want of one may be tried again when it has changed.
    #[must_use]
    pub fn freed(&self) -> u64 {
        self.freed
    }

    /// What is done for the VM, by this table and by its caller.
    pub(crate) fn work(&self) -> &WorkMeter {
        &self.work
    }

    /// Whether an interrupt was started since this was last asked.
    pub(crate) fn has_started(&self) -> bool {
        self.started.take()
    }

    /// Number of GSIs that are free.
    #[must_use]
    pub fn free_gsis(&self) -> u32 {
        self.gsis.free()
    }

    /// Frees the GSI and the eventfd of a line that holds nothing else.
    pub(super) fn dispose(&mut self, line: Line) {
        self.freed += 1;
        line.gsi().into_iter().for_each(|gsi| self.gsis.give_back(gsi));
        drop(line);
    }
}
