//! The two interfaces that the steps of a line act on: what holds lines, and the devices that signal them.

use super::Lines;
use crate::device::{Device, Origin};
use pvir_abi::DeviceId;

/// A holder of one entry's lines: an IRTE, an emulated message, or what is left of either.
pub trait LineOwner {
    /// The entry whose interrupts the lines carry.
    fn origin(&self) -> Origin;

    /// The lines of the entry, one for each message.
    fn lines(&self) -> &Lines;

    /// The lines of the entry, to be changed by a step.
    fn lines_mut(&mut self) -> &mut Lines;
}

impl<T: LineOwner> LineOwner for &mut T {
    fn origin(&self) -> Origin {
        (**self).origin()
    }

    fn lines(&self) -> &Lines {
        (**self).lines()
    }

    fn lines_mut(&mut self) -> &mut Lines {
        (**self).lines_mut()
    }
}

/// The devices whose interrupts a step starts and stops.
pub trait DeviceSet {
    /// The device with this id, or `None` if the VM does not have it.
    fn device(&mut self, id: DeviceId) -> Option<&mut dyn Device>;
}

/// A single device, which the caller has looked up: it is the answer for every id.
impl DeviceSet for &mut dyn Device {
    fn device(&mut self, _: DeviceId) -> Option<&mut dyn Device> {
        Some(&mut **self)
    }
}

/// The lines of one entry and no more: those of a trapped entry, or of one that nobody has any more until they are given
/// back.
#[derive(Debug)]
pub struct EntryLines {
    /// The entry.
    pub origin: Origin,
    /// Its lines, one for each message.
    pub lines: Lines,
}

impl LineOwner for EntryLines {
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
