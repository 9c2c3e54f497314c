//! The way of one message into KVM.

use crate::kvm::IrqRouter;
use smallvec::SmallVec;
use std::io;
use vmm_sys_util::eventfd::EventFd;

/// VFIO signals the eventfd, KVM injects what the GSI's route says.
#[derive(Debug)]
pub struct Line {
    /// Number of the line in KVM's routing table.
    pub gsi: u32,
    /// What the device's interrupt signals.
    pub eventfd: EventFd,
    /// Whether KVM has the eventfd attached to the GSI.
    pub attached: bool,
}

/// The lines of an IRTE, in the order of its messages: nearly always one.
pub type Lines = SmallVec<[Line; 1]>;

impl Line {
    /// A line that nothing is attached to.
    #[must_use]
    pub fn new(gsi: u32, eventfd: EventFd) -> Self {
        Self { gsi, eventfd, attached: false }
    }

    pub(super) fn attach(&mut self, router: &mut dyn IrqRouter) -> io::Result<()> {
        router.attach(&self.eventfd, self.gsi)?;
        self.attached = true;
        Ok(())
    }

    /// After a failure it counts as attached.
    pub(super) fn detach(&mut self, router: &mut dyn IrqRouter) -> io::Result<()> {
        router.detach(&self.eventfd, self.gsi)?;
        self.attached = false;
        Ok(())
    }
}
