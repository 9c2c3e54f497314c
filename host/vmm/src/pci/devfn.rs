//! The place of a function on the bus.

use std::fmt;

use pvir_abi::{Bdf, DeviceId};

/// Device and function number on bus 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DevFn(u8);

impl DevFn {
    /// Function 0 of the device with this number.
    pub(crate) fn device(number: u8) -> Self {
        Self((number & 31) << 3)
    }

    /// From the byte in a configuration address.
    pub(crate) fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// That byte.
    pub(crate) fn byte(self) -> u8 {
        self.0
    }

    /// The number of the device.
    pub(crate) fn number(self) -> u8 {
        self.0 >> 3
    }

    /// The place that guest and service name so; `None` on another bus.
    pub(crate) fn of(id: DeviceId) -> Option<Self> {
        let [devfn, bus] = id.bdf.0.to_le_bytes();
        (id.segment == 0 && bus == 0).then_some(Self(devfn))
    }

    /// How guest and service name the function.
    pub(crate) fn id(self) -> DeviceId {
        DeviceId::new(0, Bdf(self.0.into()))
    }
}

impl fmt::Display for DevFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00:{:02x}.{}", self.0 >> 3, self.0 & 7)
    }
}
