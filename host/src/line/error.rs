//! Which step of a line failed, and for which entry.

use super::Request;
use crate::device::Origin;
use std::io;

/// A step of a line's way up or down, by what carries it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// `KVM_SET_GSI_ROUTING` with a route for the line's GSI.
    Route,
    /// `KVM_IRQFD` for the line's eventfd.
    Attach,
    /// [`Device::start`](crate::device::Device::start) for the line's interrupt.
    Start,
    /// [`Device::stop`](crate::device::Device::stop) for the line's interrupt.
    Stop,
    /// `KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN` for the line's eventfd.
    Detach,
    /// `KVM_SET_GSI_ROUTING` without a route for the line's GSI.
    Unroute,
}

impl Step {
    /// The step as a phrase of a log message, for example "attaching the irqfd".
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

/// A step that failed, the entry that it was for, and the error.
#[derive(Debug, thiserror::Error)]
#[error("{} of {origin} failed", step.name())]
#[non_exhaustive]
pub struct LineError {
    /// The entry whose line it was; for a run of entries, the first.
    pub origin: Origin,
    /// The step that failed.
    pub step: Step,
    /// Whether the step was for this entry alone or for a run of entries.
    pub request: Request,
    /// The error of KVM's ioctl or of the device.
    #[source]
    pub source: io::Error,
}
