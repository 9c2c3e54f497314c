//! Who has lines, and whose interrupts signal them.

use super::Lines;
use crate::device::{Device, Origin};
use pvir_abi::DeviceId;

/// Whatever has the lines of one entry: an IRTE, an emulated message, or what is left of either.
pub trait LineOwner {
    /// The entry.
    fn origin(&self) -> Origin;

    /// Its lines.
    fn lines(&self) -> &Lines;

    /// Its lines.
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

/// The devices whose interrupts are started and stopped.
pub trait DeviceSet {
    /// The device of that id.
    fn device(&mut self, id: DeviceId) -> Option<&mut dyn Device>;
}

/// One device, whoever is asked for: the caller has looked it up.
impl DeviceSet for &mut dyn Device {
    fn device(&mut self, _: DeviceId) -> Option<&mut dyn Device> {
        Some(&mut **self)
    }
}
