//! One message in use.

use crate::message::Message;
use std::io;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// What of the kernel's resources a message holds, in the order in which they are taken. Given back in reverse.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Held {
    /// Its GSI has a route in KVM's table.
    pub(super) route: bool,
    /// The eventfd is attached to the GSI.
    pub(super) irqfd: bool,
    /// The device's interrupt is started and signals the eventfd.
    pub(super) interrupt: bool,
}

/// An interrupt on its way from the device to KVM.
#[derive(Debug)]
pub(super) struct Line {
    /// The device signals it, KVM injects from it; while it is not attached it counts.
    pub(super) eventfd: EventFd,
    /// Taken when it is first sent.
    pub(super) gsi: Option<u32>,
    /// What stands, or last stood, in KVM's table.
    pub(super) message: Option<Message>,
    /// Whether what is raised at the moment is lost: the message goes nowhere.
    pub(super) void: bool,
    pub(super) held: Held,
}

impl Line {
    /// One that holds nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        let eventfd = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Self { eventfd, gsi: None, message: None, void: false, held: Held::default() })
    }

    pub(super) fn is_started(&self) -> bool {
        self.held.interrupt
    }

    /// Whether an interrupt is held. Under the VM's lock, and while it is not attached, nobody else reads the eventfd.
    pub(super) fn is_pending(&self) -> bool {
        if self.held.irqfd || self.void {
            return false;
        }
        let Ok(count) = self.eventfd.read() else { return false };
        // As much as was there fits again.
        let _ = self.eventfd.write(count);
        true
    }

    /// Forgets what was raised while it was lost.
    pub(super) fn drain(&self) {
        // An empty eventfd has nothing to be forgotten.
        let _ = self.eventfd.read();
    }

    /// Whether its route is this message.
    pub(super) fn is_routed_to(&self, message: Message) -> bool {
        self.held.route && self.message == Some(message)
    }
}
