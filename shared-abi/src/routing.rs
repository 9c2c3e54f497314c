//! Routing: where an interrupt goes. Tagged by architecture; version 1 has one.

use crate::open_enum::open_enum;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first vector that a device may have; those below are the CPU's exceptions
/// (Intel SDM Vol. 3A, "Interrupt and Exception Handling", "Exception and Interrupt Vectors").
pub const FIRST_DEVICE_VECTOR: u8 = 32;

open_enum! {
    /// The architecture of a routing: says what its 16 bytes mean.
    Arch(u16) {
        /// Local APIC: [`X86Route`].
        X86_APIC = 1,
        /// Reserved for ARM GICv3 ITS (device id, event id, collection); not served in version 1.
        ARM_ITS = 2,
    }
}

open_enum! {
    /// Delivery mode, the encoding of the MSI data register
    /// (Intel SDM Vol. 3A, "Message Signalled Interrupts", "Message Data Register Format").
    DeliveryMode(u8) {
        /// To the destination, with the vector.
        FIXED = 0,
        /// To the destination of lowest priority. Served with its feature, where that is one vCPU.
        LOWEST_PRIORITY = 1,
        /// Never served.
        SMI = 2,
        /// Never served.
        NMI = 4,
        /// Never served.
        INIT = 5,
        /// Never served.
        EXTINT = 7,
    }
}

open_enum! {
    /// Destination mode, the encoding of the MSI address register.
    DestinationMode(u8) {
        /// The destination is one local APIC id.
        PHYSICAL = 0,
        /// The destination is a logical id. Served with its feature, where that is one vCPU.
        LOGICAL = 1,
    }
}

/// The 16 bytes of a routing, their meaning given by the entry's [`Arch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Routing {
    /// For [`Arch::X86_APIC`]: destination APIC id, all 32 bits.
    pub destination: u32,
    /// For [`Arch::X86_APIC`]: vector, 32 to 255.
    pub vector: u8,
    /// For [`Arch::X86_APIC`]: a [`DeliveryMode`].
    pub delivery_mode: u8,
    /// For [`Arch::X86_APIC`]: a [`DestinationMode`].
    pub destination_mode: u8,
    /// For [`Arch::X86_APIC`]: bit 0 is the redirection hint; the others are zero.
    pub hint: u8,
    /// Zero.
    pub reserved: u64,
}

const _: () = assert!(size_of::<Routing>() == 16);
const _: () = assert!(offset_of!(Routing, destination) == 0);
const _: () = assert!(offset_of!(Routing, vector) == 4);
const _: () = assert!(offset_of!(Routing, delivery_mode) == 5);
const _: () = assert!(offset_of!(Routing, destination_mode) == 6);
const _: () = assert!(offset_of!(Routing, hint) == 7);
const _: () = assert!(offset_of!(Routing, reserved) == 8);

/// A routing to a local APIC, before it is put on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct X86Route {
    /// Destination APIC id.
    pub destination: u32,
    /// Vector.
    pub vector: u8,
    /// Delivery mode.
    pub delivery_mode: DeliveryMode,
    /// Destination mode.
    pub destination_mode: DestinationMode,
    /// Redirection hint.
    pub hint: bool,
}

impl X86Route {
    /// Fixed delivery of `vector` to the one vCPU with the APIC id `destination`: what nearly every guest wants.
    #[must_use]
    pub const fn fixed(destination: u32, vector: u8) -> Self {
        Self {
            destination,
            vector,
            delivery_mode: DeliveryMode::FIXED,
            destination_mode: DestinationMode::PHYSICAL,
            hint: false,
        }
    }
}

impl From<X86Route> for Routing {
    fn from(route: X86Route) -> Self {
        Self {
            destination: route.destination,
            vector: route.vector,
            delivery_mode: route.delivery_mode.0,
            destination_mode: route.destination_mode.0,
            hint: u8::from(route.hint),
            reserved: 0,
        }
    }
}
