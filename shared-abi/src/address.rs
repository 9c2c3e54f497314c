//! Guest physical addresses, and the PCI addresses by which a guest names its devices.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A guest physical address: a number of bytes from the start of guest physical memory.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct GuestPhysAddr(pub u64);

impl fmt::Debug for GuestPhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPA {:#x}", self.0)
    }
}

/// Bus, device and function of a PCI function as one 16-bit number: bus in bits 15:8, device in 7:3, function in 2:0.
///
/// This is the form of a requester id (PCI Express Base Specification 6.0, section 2.2.6.2 "Transaction Descriptor -
/// Transaction ID Field").
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Bdf(pub u16);

impl Bdf {
    /// The BDF of these parts. `None` if `device` is over 31 or `function` over 7.
    #[must_use]
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self(u16::from_le_bytes([device << 3 | function, bus])))
    }

    /// The bus number, 0 to 255.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// The device number, 0 to 31.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.0.to_le_bytes()[0] >> 3
    }

    /// The function number, 0 to 7.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.0.to_le_bytes()[0] & 7
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.device(), self.function())
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address of a device in the guest's own configuration space: PCI segment group and BDF (statement I1).
///
/// It fills the first four bytes of every record that names a device.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DeviceId {
    /// The PCI segment group, 0 where there is only one.
    pub segment: u16,
    /// Bus, device and function within the segment group.
    pub bdf: Bdf,
}

const _: () = assert!(size_of::<DeviceId>() == 4);

impl DeviceId {
    /// The device at `bdf` in `segment`.
    #[must_use]
    pub const fn new(segment: u16, bdf: Bdf) -> Self {
        Self { segment, bdf }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{}", self.segment, self.bdf)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn bdf_packs_as_a_requester_id() {
        let bdf = Bdf::new(0xab, 0x1f, 7).unwrap();
        assert_eq!(bdf.0, 0xabff);
        assert_eq!((bdf.bus(), bdf.device(), bdf.function()), (0xab, 0x1f, 7));
        assert_eq!(DeviceId::new(1, bdf).to_string(), "0001:ab:1f.7");
    }

    #[test]
    fn bdf_refuses_parts_out_of_range() {
        assert_eq!(Bdf::new(0, 32, 0), None);
        assert_eq!(Bdf::new(0, 0, 8), None);
    }
}
