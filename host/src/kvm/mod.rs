//! GSI routing and irqfds: what the service needs of KVM.
//!
//! KVM validates almost nothing of the MSI routes it is given. It accepts vectors 0 to 31, SMI and any destination.
//! The caller therefore validates first, and the types keep the proof: only a [`Message`] can be routed.

mod backend;
mod descriptor;
mod gsi_pool;
mod routes;
mod routing;

pub use backend::KvmRouter;
pub use descriptor::VmDescriptor;
pub use gsi_pool::GsiPool;
pub use routes::RouteTable;
pub use routing::{GsiRouting, RouteTarget, RoutingError, VmmRoute};

use crate::eventfd::EventFd;
use crate::message::Message;
use std::io;
use std::ops::Range;

/// The number of GSIs that KVM has for one VM (`KVM_MAX_IRQ_ROUTES`; KVM API, 4.52 `KVM_SET_GSI_ROUTING`).
pub const MAX_GSI: u32 = 4096;

/// One entry of KVM's routing table: the message that KVM injects when a GSI is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct GsiRoute {
    /// Global system interrupt, below [`MAX_GSI`].
    pub gsi: u32,
    /// The message that the GSI injects.
    pub message: Message,
}

/// The `KVM_SET_GSI_ROUTING`, `KVM_IRQFD` and `KVM_SIGNAL_MSI` of one VM; [`KvmRouter`] issues them. A VMM that keeps the VM's routing
/// table itself implements this over it.
///
/// The service calls it under the VM's lock and keeps this order: a GSI has its route before a device signals the
/// irqfd that is attached to it, and keeps the route until the device's interrupt has stopped.
pub trait IrqRouter: Send {
    /// The GSIs that the service may use, where the router has a range for it: no GSI outside is then ever asked for.
    /// `None` leaves the choice to [`Config::first_gsi`](crate::service::Config::first_gsi).
    fn gsis(&self) -> Option<Range<u32>> {
        None
    }

    /// Replaces all routes that were set here before by `routes` (`KVM_SET_GSI_ROUTING`; KVM API, section 4.52). That
    /// ioctl replaces the whole table of the VM: a router of a VMM that has routes of its own adds these.
    ///
    /// # Errors
    /// The errno of `KVM_SET_GSI_ROUTING`. The table in KVM is then unchanged.
    fn set_routes(&mut self, routes: &[GsiRoute]) -> io::Result<()>;

    /// Attaches `eventfd` to `gsi` (`KVM_IRQFD`; KVM API, section 4.75). If the eventfd's counter is not zero, KVM
    /// injects the interrupt at once.
    ///
    /// # Errors
    /// The errno of `KVM_IRQFD`. The eventfd is then not attached.
    fn attach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()>;

    /// Detaches `eventfd` from `gsi` (`KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN`). After it has returned, KVM injects
    /// nothing more for the eventfd, and signals add up in the eventfd's counter.
    ///
    /// # Errors
    /// The errno of `KVM_IRQFD`. The eventfd may then still be attached.
    fn detach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()>;

    /// Attaches an eventfd that nothing signals yet to a GSI that has no route yet, ahead of the MAP that will use
    /// both. By default this is [`attach`](Self::attach); an implementation may count the two apart.
    ///
    /// # Errors
    /// The errno of `KVM_IRQFD`. The eventfd is then not attached.
    fn arm(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.attach(eventfd, gsi)
    }

    /// Takes off irqfds of which nothing can come, and closes their eventfds: nothing signals them, their GSIs have no
    /// route, and KVM has no injection of them queued. If there are several, nobody else has a file of theirs. Answers
    /// with those that are still attached.
    ///
    /// When it returns, the kernel has finished with all others. A backend may let the kernel's waits for them overlap.
    fn discard(&mut self, lines: Vec<(EventFd, u32)>) -> Vec<(EventFd, u32, io::Error)> {
        detach_each(self, lines)
    }

    /// Whether [`signal`](Self::signal) works. The service offers NOTIFY only then.
    fn can_signal(&self) -> bool {
        false
    }

    /// Injects `message` once, without a GSI (`KVM_SIGNAL_MSI`; KVM API, section 4.71).
    ///
    /// # Errors
    /// The errno of `KVM_SIGNAL_MSI`, `EPERM` if no local APIC is there to take the message; `Unsupported` by default.
    /// Nothing is then injected.
    fn signal(&mut self, _message: Message) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Detaches each of these irqfds and closes its eventfd. Answers with those that are still attached.
pub(crate) fn detach_each<R: IrqRouter + ?Sized>(
    router: &mut R,
    lines: Vec<(EventFd, u32)>,
) -> Vec<(EventFd, u32, io::Error)> {
    let detach = |(eventfd, gsi)| match router.detach(&eventfd, gsi) {
        Ok(()) => None,
        Err(error) => Some((eventfd, gsi, error)),
    };
    lines.into_iter().filter_map(detach).collect()
}
