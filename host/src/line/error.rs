//! What failed on a line's way up or down.

use super::Request;
use crate::device::Origin;
use std::io;

/// A step of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `KVM_SET_GSI_ROUTING` with a route for it.
    Route,
    /// `KVM_IRQFD`.
    Attach,
    /// The device starts its interrupt.
    Start,
    /// The device stops its interrupt.
    Stop,
    /// `KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN`.
    Detach,
    /// `KVM_SET_GSI_ROUTING` without its route.
    Unroute,
}

impl Step {
    /// What is done, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Route => "routing",
            Self::Attach => "attaching the irqfd",
            Self::Start => "starting the interrupt",
            Self::Stop => "stopping the interrupt",
            Self::Detach => "detaching the irqfd",
            Self::Unroute => "dropping the route",
        }
    }
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{} of {origin} failed", step.name())]
pub struct LineError {
    /// The entry.
    pub origin: Origin,
    /// What was tried.
    pub step: Step,
    /// Whether it was asked for the entry alone.
    pub request: Request,
    /// The kernel's error.
    #[source]
    pub source: io::Error,
}
