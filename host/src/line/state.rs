//! One message's line, and the lines of one entry.

use crate::kvm::IrqRouter;
use std::{io, slice};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// What a device signals, and what of KVM's stands behind it.
///
/// The line holds up to three things, each of which one step takes and another gives back: a route of its GSI (which
/// the [`LineTable`](super::LineTable) knows), the attachment of its eventfd (the irqfd), and the device's interrupt.
#[derive(Debug)]
pub struct Line {
    eventfd: EventFd,
    gsi: Option<u32>,
    attached: bool,
    started: bool,
}

impl Line {
    /// A line with an eventfd and without a GSI.
    ///
    /// # Errors
    /// The error of `eventfd2`, for example because no descriptor is left.
    #[inline]
    pub fn new() -> io::Result<Self> {
        let eventfd = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Self { eventfd, gsi: None, attached: false, started: false })
    }

    /// What the device signals. While it is not attached it counts.
    #[must_use]
    #[inline]
    pub fn eventfd(&self) -> &EventFd {
        &self.eventfd
    }

    /// The number by which KVM knows the line, once it has one.
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

    /// Whether an interrupt waits in the eventfd. Nobody else reads it while it is not attached; what is read is put
    /// back.
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

    /// Forgets what waits in the eventfd.
    pub fn drain(&self) {
        // An empty eventfd has nothing to be forgotten.
        let _ = self.eventfd.read();
    }

    #[inline]
    pub(super) fn set_gsi(&mut self, gsi: u32) {
        self.gsi = Some(gsi);
    }

    #[inline]
    pub(super) fn set_started(&mut self, started: bool) {
        self.started = started;
    }

    /// Whether the route may go: the rule of this folder.
    #[inline]
    pub(super) fn may_lose_route(&self) -> bool {
        !(self.attached && self.started)
    }

    /// Attaches the eventfd to the GSI, which has a route or, if it `waits` for one, has none yet.
    #[inline]
    pub(super) fn attach(&mut self, router: &mut dyn IrqRouter, waits: bool) -> io::Result<()> {
        match self.gsi {
            Some(gsi) if !waits => router.attach(&self.eventfd, gsi)?,
            Some(gsi) if !self.started => router.arm(&self.eventfd, gsi)?,
            _ => return Err(io::Error::other("an irqfd without a route must not be signalled")),
        }
        self.attached = true;
        Ok(())
    }

    /// Detaches the eventfd. After a failure it counts as attached.
    pub(super) fn detach(&mut self, router: &mut dyn IrqRouter) -> io::Result<()> {
        let Some(gsi) = self.gsi.filter(|_| self.attached) else { return Ok(()) };
        router.detach(&self.eventfd, gsi)?;
        self.attached = false;
        Ok(())
    }
}

/// The lines of one entry, one for each of its messages.
#[derive(Debug)]
pub enum Lines {
    /// Nearly always it is one.
    One(Line),
    /// Those of an MSI with several messages, in their order.
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

    /// In the order of the messages.
    #[inline]
    pub fn iter(&self) -> slice::Iter<'_, Line> {
        self.as_slice().iter()
    }

    /// In the order of the messages.
    #[inline]
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, Line> {
        match self {
            Self::One(line) => slice::from_mut(line).iter_mut(),
            Self::Several(lines) => lines.iter_mut(),
        }
    }

    /// The line of a message.
    #[must_use]
    pub fn get(&self, message: usize) -> Option<&Line> {
        self.as_slice().get(message)
    }

    /// Whether an eventfd of them is attached to KVM.
    #[must_use]
    #[inline]
    pub fn is_attached(&self) -> bool {
        self.iter().any(Line::is_attached)
    }

    /// Whether the device's interrupts signal them: the messages of an entry start and stop together.
    #[must_use]
    #[inline]
    pub fn is_started(&self) -> bool {
        self.iter().any(Line::is_started)
    }

    /// The device's interrupts have ended by themselves, with the device.
    pub fn have_ended(&mut self) {
        self.iter_mut().for_each(|line| line.set_started(false));
    }

    /// Does `act` with each of them, in the order of the messages.
    pub fn consume(self, mut act: impl FnMut(Line)) {
        match self {
            Self::One(line) => act(line),
            Self::Several(lines) => lines.into_iter().for_each(act),
        }
    }
}
