//! KVM's part: GSI routing and irqfds.
//!
//! KVM validates almost nothing of what it is given here (vectors 0 to 31, SMI, any destination), so whoever calls
//! has validated everything: only a [`Message`] can be routed, which is the proof of that.

mod backend;
mod gsi_pool;
mod routes;

pub use backend::KvmRouter;
pub use gsi_pool::GsiPool;
pub use routes::RouteTable;

use crate::message::Message;
use std::io;
use vmm_sys_util::eventfd::EventFd;

/// The number of GSIs that KVM has for one VM (`KVM_MAX_IRQ_ROUTES`; KVM API, 4.52 `KVM_SET_GSI_ROUTING`).
pub const MAX_GSI: u32 = 4096;

/// One line of KVM's routing table: what is injected when a GSI is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GsiRoute {
    /// Global system interrupt, below [`MAX_GSI`].
    pub gsi: u32,
    /// What is injected.
    pub message: Message,
}

/// What the service needs of KVM. Calls come under the VM's lock, in the order of the contract: an irqfd is attached, and
/// its GSI has a route, before a device's interrupt signals it; and the route goes last.
pub trait IrqRouter: Send {
    /// Replaces the whole routing table (`KVM_SET_GSI_ROUTING`).
    ///
    /// # Errors
    /// As the kernel gave it; the table is then unchanged.
    fn set_routes(&mut self, routes: &[GsiRoute]) -> io::Result<()>;

    /// Attaches `eventfd` to `gsi` (`KVM_IRQFD`). What `eventfd` has counted before is delivered at once.
    ///
    /// # Errors
    /// As the kernel gave it; nothing is then attached.
    fn attach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()>;

    /// Detaches `eventfd` from `gsi` (`KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN`). When it returns nothing more
    /// is injected; `eventfd` counts on.
    ///
    /// # Errors
    /// As the kernel gave it; it may then still be attached.
    fn detach(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()>;

    /// Attaches an eventfd that nothing signals yet to a GSI that has no route yet, ahead of a call that will want both.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    fn arm(&mut self, eventfd: &EventFd, gsi: u32) -> io::Result<()> {
        self.attach(eventfd, gsi)
    }
}
