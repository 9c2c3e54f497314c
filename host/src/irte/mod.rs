//! IRTEs as the host holds them: where each comes from, where it goes, and what of the kernel's it holds.

mod line;
mod policy;
mod table;
mod target;

pub use line::{Line, Lines};
pub use policy::RoutePolicy;
pub use table::IrteTable;
pub use target::Target;

use crate::kvm::IrqRouter;
use crate::message::Message;
use pvir_abi::{DeviceId, EntryRecord, Handle, Pair, Store};
use std::io;
use std::os::fd::AsRawFd;
use vmm_sys_util::eventfd::EventFd;

/// The entry that an IRTE belongs to; of several messages, the first.
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
    /// The origin that a record names.
    #[must_use]
    pub fn of(entry: &EntryRecord) -> Self {
        Self { device: entry.device, store: entry.store, index: entry.index }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}[{}]", self.device, self.store, self.index)
    }
}

/// What of the kernel's resources the messages of an IRTE hold together. Each line knows by itself whether its eventfd
/// is attached. Taken in the order route, irqfd, interrupt; given back in reverse.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// The GSIs have routes in KVM's table.
    pub route: bool,
    /// The device's interrupts are started and signal the eventfds.
    pub interrupt: bool,
}

/// One interrupt, or the messages of one multi-message MSI, from its device to its vCPU.
#[derive(Debug)]
pub struct Irte {
    /// Where it comes from.
    pub origin: Origin,
    /// One for each message; kept from MAP to UNMAP, so that leaving the parked state needs nothing new.
    pub lines: Lines,
    /// Where it goes; `None` while parked.
    pub target: Option<Target>,
    /// The pair of the first message, known once the interrupts were started.
    pub pair: Pair,
    /// What it holds.
    pub held: Held,
}

impl Irte {
    /// Number of its messages.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    /// Its eventfds, in the order of the messages.
    pub fn eventfds(&self) -> impl Iterator<Item = &EventFd> {
        self.lines.iter().map(|line| &line.eventfd)
    }

    /// Whether an eventfd of it is attached to KVM.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.lines.iter().any(|line| line.attached)
    }

    /// Whether nothing of the kernel's is held by it any more.
    pub(crate) fn is_bare(&self) -> bool {
        self.held == Held::default() && !self.is_attached()
    }

    /// Whether its routes stand in KVM's table and only irqfds are missing. A parked one may have lines there that
    /// could not be dropped; they are not its routes.
    pub(crate) fn awaits_irqfd(&self) -> bool {
        self.target.is_some() && self.held.route && self.lines.iter().any(|line| !line.attached)
    }

    /// What KVM's table is to say of its GSIs if it goes to `target`.
    pub(crate) fn routes_to(&self, target: Option<Target>) -> impl Iterator<Item = (u32, Option<Message>)> {
        let routes = (0u8..).map(move |number| target.map(|target| target.message(number)));
        self.lines.iter().map(|line| line.gsi).zip(routes)
    }

    /// Attaches every eventfd that is not attached yet: all, or none of them.
    ///
    /// # Errors
    /// As the kernel gave it, for the first one that failed.
    pub(crate) fn attach(&mut self, router: &mut dyn IrqRouter) -> io::Result<()> {
        for place in 0..self.lines.len() {
            let (before, from) = self.lines.split_at_mut(place);
            let Some(line) = from.first_mut().filter(|line| !line.attached) else { continue };
            if let Err(error) = line.attach(router) {
                for line in before.iter_mut().filter(|line| line.attached) {
                    // The first failure is the one to tell of; what stays attached is known by the line.
                    let _ = line.detach(router);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Detaches every eventfd that is attached, also if one of them fails.
    ///
    /// # Errors
    /// As the kernel gave it, for the first one that failed.
    pub(crate) fn detach(&mut self, router: &mut dyn IrqRouter) -> io::Result<()> {
        let mut result = Ok(());
        for line in self.lines.iter_mut().filter(|line| line.attached) {
            result = result.and(line.detach(router));
        }
        result
    }

    /// What of it can be told, under its handle, message by message.
    pub fn infos(&self, handle: Handle) -> impl Iterator<Item = IrteInfo> {
        let Self { origin, pair, target, .. } = *self;
        (0u8..).zip(&self.lines).map(move |(message, line)| IrteInfo {
            handle,
            origin,
            message,
            pair: Pair { data: pair.data + u32::from(message), ..pair },
            eventfd: line.eventfd.as_raw_fd(),
            gsi: line.gsi,
            route: target.map(|target| target.message(message)),
        })
    }
}

/// A view of one message of an IRTE, for statistics and pictures.
#[derive(Clone, Debug)]
pub struct IrteInfo {
    /// The guest's name for the IRTE.
    pub handle: Handle,
    /// Where the IRTE comes from.
    pub origin: Origin,
    /// Number of the message: 0, but with multi-message MSI.
    pub message: u8,
    /// The message's pair.
    pub pair: Pair,
    /// Descriptor number of its eventfd.
    pub eventfd: i32,
    /// GSI.
    pub gsi: u32,
    /// What the route of its GSI injects; `None` while parked.
    pub route: Option<Message>,
}
