//! IRTEs as the host holds them: where each comes from, where it goes, and what of the kernel's it holds.

mod route;
mod table;

pub use route::{Route, RoutePolicy};
pub use table::IrteTable;

use pvir_abi::{DeviceId, Entry, Handle, Pair, Store};
use std::os::fd::AsRawFd;
use vmm_sys_util::eventfd::EventFd;

/// The message that an IRTE belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The device, as the guest sees it.
    pub device: DeviceId,
    /// The store.
    pub store: Store,
    /// The index in the store.
    pub index: u32,
}

impl Origin {
    /// The origin that a record names. The record's `count` is validated to be 1 before.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self { device: entry.device, store: entry.store, index: entry.index }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}[{}]", self.device, self.store, self.index)
    }
}

/// What of the kernel's resources an IRTE holds, in the order in which they are taken. Given back in reverse.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// The GSI has a route in KVM's table.
    pub route: bool,
    /// The eventfd is attached to the GSI.
    pub irqfd: bool,
    /// The device's interrupt is started and signals the eventfd.
    pub interrupt: bool,
}

/// One interrupt, from its device to its vCPU.
#[derive(Debug)]
pub struct Irte {
    /// Where it comes from.
    pub origin: Origin,
    /// Its line in KVM's routing table; kept from MAP to UNMAP, so that leaving the parked state needs nothing new.
    pub gsi: u32,
    /// VFIO signals it, KVM injects from it.
    pub eventfd: EventFd,
    /// Where it goes; `None` while parked.
    pub route: Option<Route>,
    /// The pair, known once the interrupt was started.
    pub pair: Pair,
    /// What it holds.
    pub held: Held,
}

impl Irte {
    /// Whether its route stands in KVM's table and only the irqfd is missing. A parked one may have a line there that
    /// could not be dropped; it is not its route.
    pub(crate) fn awaits_irqfd(&self) -> bool {
        self.route.is_some() && self.held.route && !self.held.irqfd
    }

    /// What of it can be told, under its handle.
    #[must_use]
    pub fn info(&self, handle: Handle) -> IrteInfo {
        IrteInfo {
            handle,
            origin: self.origin,
            pair: self.pair,
            eventfd: self.eventfd.as_raw_fd(),
            gsi: self.gsi,
            route: self.route,
        }
    }
}

/// A view of one IRTE for statistics and pictures.
#[derive(Clone, Debug)]
pub struct IrteInfo {
    /// The guest's name for it.
    pub handle: Handle,
    /// Where it comes from.
    pub origin: Origin,
    /// The pair.
    pub pair: Pair,
    /// Descriptor number of its eventfd.
    pub eventfd: i32,
    /// GSI.
    pub gsi: u32,
    /// Where it goes; `None` while parked.
    pub route: Option<Route>,
}
