//! One message's line, and the lines of one entry.

use crate::eventfd::EventFd;
use crate::kvm::IrqRouter;
use std::{io, slice};

/// The path of one message: an eventfd that the device signals, and what KVM holds for it.
///
/// A line holds up to three things, each taken by one step and given back by another: the route of its GSI (which the
/// [`LineTable`](super::LineTable) records), the irqfd that attaches its eventfd to the GSI, and the device's
/// interrupt.
#[derive(Debug)]
pub struct Line {
    eventfd: EventFd,
    gsi: Option<u32>,
    attached: bool,
    started: bool,
    /// Whether KVM may have an injection of it in its work queue, which only a de-assignment waits for.
    may_be_queued: bool,
    /// Whether the eventfd had an interrupt when it was attached, which KVM has put into its work queue.
    has_queued: bool,
    /// Whether somebody else may have the eventfd's file, so that its irqfd does not end when it is closed here.
    may_be_shared: bool,
}

impl Line {
    /// A line with a new eventfd (nonblocking, close-on-exec), without a GSI.
    ///
    /// # Errors
    /// The errno of `eventfd2`, for example `EMFILE` if the process has no file descriptor left.
    #[inline]
    pub fn new() -> io::Result<Self> {
        let eventfd = EventFd::new()?;
        Ok(Self {
            eventfd,
            gsi: None,
            attached: false,
            started: false,
            may_be_queued: false,
            has_queued: false,
            may_be_shared: false,
        })
    }

    /// A line of which only the irqfd is left.
    pub(super) fn idle(eventfd: EventFd, gsi: u32) -> Self {
        Self {
            eventfd,
            gsi: Some(gsi),
            attached: true,
            started: false,
            may_be_queued: false,
            has_queued: false,
            may_be_shared: true,
        }
    }

    /// The parts of a line that has a GSI.
    pub(super) fn into_eventfd_and_gsi(self) -> Option<(EventFd, u32)> {
        Some((self.eventfd, self.gsi?))
    }

    /// The eventfd that the device signals. While it is not attached to KVM, signals add up in its counter.
    #[must_use]
    #[inline]
    pub fn eventfd(&self) -> &EventFd {
        &self.eventfd
    }

    /// The line's GSI, or `None` before it has one.
    #[must_use]
    #[inline]
    pub fn gsi(&self) -> Option<u32> {
        self.gsi
    }

    /// Whether KVM has the eventfd attached to the GSI.
    #[must_use]
    #[inline]
    pub fn is_attached(&self) -> bool {
        self.attached
    }

    /// Whether the device's interrupt is started and signals the eventfd.
    #[must_use]
    #[inline]
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Whether the eventfd's counter holds an interrupt. `false` for an attached line, whose counter belongs to KVM.
    /// The counter is read and written back: nothing else reads it while the line is not attached.
    #[must_use]
    pub fn holds_interrupt(&self) -> bool {
        if self.attached {
            return false;
        }
        let Ok(count) = self.eventfd.read() else { return false };
        // As much as was there fits again.
        let _ = self.eventfd.write(count);
        true
    }

    /// Puts an interrupt into the eventfd's counter, which is delivered when the line is attached.
    pub(crate) fn hold(&mut self) {
        // A full counter has one in it.
        let _ = self.eventfd.signal();
        // KVM queues what it finds there.
        self.may_be_queued = true;
    }

    /// Sets the eventfd's counter to zero: interrupts that it holds are dropped.
    pub fn drain(&self) {
        // An empty eventfd has nothing to be forgotten.
        let _ = self.eventfd.read();
    }

    #[inline]
    pub(super) fn set_gsi(&mut self, gsi: u32) {
        self.gsi = Some(gsi);
    }

    /// Whether the irqfd ends when the eventfd is closed here.
    pub(super) fn ends_with_its_eventfd(&self) -> bool {
        !self.may_be_shared
    }

    #[inline]
    pub(super) fn set_may_be_shared(&mut self, may_be_shared: bool) {
        self.may_be_shared = may_be_shared;
    }

    #[inline]
    pub(super) fn set_started(&mut self, started: bool) {
        self.started = started;
    }

    /// Whether the route may be dropped: not under an irqfd whose device is started (the rule of the module).
    #[inline]
    pub(super) fn may_lose_route(&self) -> bool {
        !(self.attached && self.started)
    }

    /// Whether dropping the route is enough to end the line's interrupts: KVM cannot have an injection queued that
    /// has read the route already.
    ///
    /// KVM injects a fixed, physical message of an MSI route in the context that signals the eventfd, and
    /// `KVM_SET_GSI_ROUTING` waits for that. KVM queues what the eventfd had counted before it was attached, and
    /// messages of other modes (`irqfd_wakeup` and `kvm_irqfd_assign` in virt/kvm/eventfd.c, Linux 6.12). A queued
    /// injection reads the route and then injects without that protection (`kvm_set_irq` in virt/kvm/irqchip.c).
    #[inline]
    pub(super) fn ends_with_its_route(&self) -> bool {
        !self.started && !self.may_be_queued
    }

    /// Whether KVM was given an interrupt to inject from its work queue, and perhaps has not yet. What is queued reads the
    /// route first and injects later, and `KVM_SET_GSI_ROUTING` does not wait for it: before the route of such a line is
    /// changed its irqfd is detached, which does (R2).
    #[must_use]
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.attached && self.has_queued
    }

    pub(super) fn set_may_be_queued(&mut self) {
        self.may_be_queued = true;
    }

    /// Attaches the eventfd to the line's GSI. The GSI has a route, or, if the line `waits` for an entry, none yet.
    #[inline]
    pub(super) fn attach(&mut self, router: &mut dyn IrqRouter, waits: bool) -> io::Result<()> {
        // Nothing but the device and `hold` puts anything into the counter.
        let may_hold = self.started || self.may_be_queued;
        let held = may_hold && self.holds_interrupt();
        match self.gsi {
            Some(gsi) if !waits => router.attach(&self.eventfd, gsi)?,
            Some(gsi) if !self.started => router.arm(&self.eventfd, gsi)?,
            _ => return Err(io::Error::other("an irqfd without a route must not be signalled")),
        }
        self.attached = true;
        // A device that is started may have signalled it before.
        self.may_be_queued |= self.started;
        // Or between the look and the attachment: KVM takes what is signalled from then on, and leaves what it has queued
        // in the counter. Where it has taken both, what is queued is the second of two arrivals, and nothing depends on it.
        self.has_queued = held || (may_hold && self.eventfd.read().is_ok());
        Ok(())
    }

    /// Detaches the eventfd from the line's GSI. After a failure it counts as attached.
    pub(super) fn detach(&mut self, router: &mut dyn IrqRouter) -> io::Result<()> {
        let Some(gsi) = self.gsi.filter(|_| self.attached) else { return Ok(()) };
        router.detach(&self.eventfd, gsi)?;
        self.attached = false;
        self.may_be_queued = false;
        self.has_queued = false;
        Ok(())
    }
}

/// The lines of one entry, one for each of its messages.
#[derive(Debug)]
pub enum Lines {
    /// The line of an entry with one message: nearly every entry.
    One(Line),
    /// The lines of a multi-message MSI, in the order of the messages.
    Several(Vec<Line>),
}

impl Lines {
    /// Number of messages.
    #[must_use]
    #[inline]
    pub fn count(&self) -> u32 {
        match self {
            Self::One(_) => 1,
            Self::Several(lines) => u32::try_from(lines.len()).unwrap_or(u32::MAX),
        }
    }

    #[inline]
    fn as_slice(&self) -> &[Line] {
        match self {
            Self::One(line) => slice::from_ref(line),
            Self::Several(lines) => lines,
        }
    }

    /// Iterates over the lines in the order of the messages.
    #[inline]
    pub fn iter(&self) -> slice::Iter<'_, Line> {
        self.as_slice().iter()
    }

    /// Iterates over the lines in the order of the messages, to change them.
    #[inline]
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, Line> {
        match self {
            Self::One(line) => slice::from_mut(line).iter_mut(),
            Self::Several(lines) => lines.iter_mut(),
        }
    }

    /// The line of message number `message`, or `None` if there is no such message.
    #[must_use]
    pub fn get(&self, message: usize) -> Option<&Line> {
        self.as_slice().get(message)
    }

    /// Whether at least one of the eventfds is attached to KVM.
    #[must_use]
    #[inline]
    pub fn is_attached(&self) -> bool {
        self.iter().any(Line::is_attached)
    }

    /// Whether the device's interrupts are started and signal the eventfds. The messages of an entry start and stop
    /// together.
    #[must_use]
    #[inline]
    pub fn is_started(&self) -> bool {
        self.iter().any(Line::is_started)
    }

    /// Marks the device's interrupts as stopped, because they have ended with the device itself.
    pub fn have_ended(&mut self) {
        self.iter_mut().for_each(|line| line.set_started(false));
    }

    /// Passes each line to `act`, in the order of the messages.
    pub fn consume(self, mut act: impl FnMut(Line)) {
        match self {
            Self::One(line) => act(line),
            Self::Several(lines) => lines.into_iter().for_each(act),
        }
    }
}
