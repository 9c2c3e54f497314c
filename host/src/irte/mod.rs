//! The interrupt remapping table entries (IRTEs) of a VM as the host holds them: origin, target and lines.

mod policy;
mod table;
mod target;

pub use crate::device::Origin;
pub use policy::RoutePolicy;
pub use table::IrteTable;
pub use target::Target;

use crate::line::{Line, LineOwner, Lines};
use crate::message::Message;
use pvir_abi::{Handle, Pair};
use std::os::fd::AsRawFd;

/// One interrupt that the guest has mapped, or all messages of one multi-message MSI.
#[derive(Debug)]
#[non_exhaustive]
pub struct Irte {
    /// The device's entry that the interrupt comes from.
    pub origin: Origin,
    /// One line for each message. The lines exist from MAP to UNMAP, so that RETARGET out of the parked state
    /// allocates nothing.
    pub lines: Lines,
    /// The vCPU and vector that the interrupt goes to; `None` while the IRTE is parked.
    pub target: Option<Target>,
    /// The address/data pair of the first message. It is known once the device's interrupts have been started.
    pub pair: Pair,
}

impl LineOwner for Irte {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn lines(&self) -> &Lines {
        &self.lines
    }

    fn lines_mut(&mut self) -> &mut Lines {
        &mut self.lines
    }
}

impl Irte {
    /// Number of messages of the IRTE.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.lines.count()
    }

    /// A description of each message of the IRTE, whose handle is `handle`.
    pub fn infos(&self, handle: Handle) -> impl Iterator<Item = IrteInfo> {
        let mut number = 0;
        self.lines.iter().map(move |line| {
            let info = self.info(handle, number, line);
            number += 1;
            info
        })
    }

    #[inline]
    fn info(&self, handle: Handle, message: u8, line: &Line) -> IrteInfo {
        IrteInfo {
            handle,
            origin: self.origin,
            message,
            pair: Pair { data: self.pair.data + u32::from(message), ..self.pair },
            eventfd: line.eventfd().as_raw_fd(),
            gsi: line.gsi().unwrap_or(0),
            route: self.target.map(|target| target.message(message)),
        }
    }
}

/// A description of one message of an IRTE, for statistics and reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IrteInfo {
    /// The handle by which the guest names the IRTE.
    pub handle: Handle,
    /// The device's entry that the interrupt comes from.
    pub origin: Origin,
    /// Number of the message: 0, except for a multi-message MSI.
    pub message: u8,
    /// The message's address/data pair.
    pub pair: Pair,
    /// The number of its eventfd's file descriptor in this process.
    pub eventfd: i32,
    /// The GSI that its eventfd is attached to; 0 if it has none.
    pub gsi: u32,
    /// The message that its GSI injects; `None` while the IRTE is parked.
    pub route: Option<Message>,
}

impl IrteInfo {
    /// Message 0 of a parked IRTE of which only this is known; for programs that put reports together.
    #[must_use]
    pub fn new(handle: Handle, origin: Origin, pair: Pair) -> Self {
        Self { handle, origin, message: 0, pair, eventfd: -1, gsi: 0, route: None }
    }
}
