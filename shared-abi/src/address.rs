//! Addresses and names of things: a guest physical address is not a number, and a device is not an address.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A guest physical address, in bytes.
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

/// Bus, device, function as one 16-bit requester id: bus in bits 15:8, device in 7:3, function in 2:0
/// (PCI Express Base Specification 6.0, section 2.2.6.2 "Transaction Descriptor - Transaction ID Field").
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Bdf(pub u16);

impl Bdf {
    /// From its parts; `None` if `device` is over 31 or `function` over 7.
    #[must_use]
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self(u16::from_le_bytes([device << 3 | function, bus])))
    }

    /// Bus number.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// Device number, 0 to 31.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.0.to_le_bytes()[0] >> 3
    }

    /// Function number, 0 to 7.
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

/// A device as the guest sees it: PCI segment and BDF. The first four bytes of every record that names a device.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DeviceId {
    /// PCI segment group.
    pub segment: u16,
    /// Bus, device and function in that segment.
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
