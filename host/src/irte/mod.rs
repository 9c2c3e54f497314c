//! IRTEs as the host holds them: where each comes from, where it goes, and its lines.

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

/// One interrupt, or the messages of one multi-message MSI, from its device to its vCPU.
#[derive(Debug)]
pub struct Irte {
    /// Where it comes from.
    pub origin: Origin,
    /// One line for each message; kept from MAP to UNMAP, so that leaving the parked state needs nothing new.
    pub lines: Lines,
    /// Where it goes; `None` while parked.
    pub target: Option<Target>,
    /// The pair of the first message, known once the interrupts were started.
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
    /// Number of its messages.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.lines.count()
    }

    /// A view of each of its messages, under its handle.
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
    /// Its GSI.
    pub gsi: u32,
    /// What the route of its GSI injects; `None` while parked.
    pub route: Option<Message>,
}
