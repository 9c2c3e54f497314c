//! Routing: where an interrupt goes. Its meaning depends on the architecture, of which version 1 serves one.

use crate::open_enum::open_enum;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The lowest vector that a device's interrupt may have; those below are reserved for exceptions of the CPU
/// (Intel SDM Vol. 3A, "Interrupt and Exception Handling", "Exception and Interrupt Vectors").
pub const FIRST_DEVICE_VECTOR: u8 = 32;

open_enum! {
    /// The architecture of a [`Routing`], which says what its 16 bytes mean.
    Arch(u16) {
        /// A vector of a local APIC of x86: see [`X86Route`].
        X86_APIC = 1,
        /// Reserved for the Interrupt Translation Service of ARM's GICv3; version 1 does not serve it.
        ARM_ITS = 2,
    }
}

open_enum! {
    /// The delivery mode of an interrupt, as the message data register encodes it
    /// (Intel SDM Vol. 3A, "Message Signalled Interrupts", "Message Data Register Format").
    DeliveryMode(u8) {
        /// The interrupt is delivered to the destination with the vector.
        FIXED = 0,
        /// The interrupt is delivered to the vCPU of the destination that has the lowest priority; here the host
        /// chooses one when it validates the record (statement L3). Needs
        /// [`Features::LOWEST_PRIORITY`](crate::Features::LOWEST_PRIORITY).
        LOWEST_PRIORITY = 1,
        /// System management interrupt; never served.
        SMI = 2,
        /// Non-maskable interrupt; never served.
        NMI = 4,
        /// INIT request; never served.
        INIT = 5,
        /// Interrupt of an 8259-compatible controller; never served.
        EXTINT = 7,
    }
}

open_enum! {
    /// The destination mode of an interrupt, as bit 2 of the message address register encodes it
    /// (Intel SDM Vol. 3A, "Message Signalled Interrupts", "Message Address Register Format").
    DestinationMode(u8) {
        /// The destination is the id of one local APIC.
        PHYSICAL = 0,
        /// The destination is a set of local APICs in a cluster of x2APIC mode (statement L2). Needs
        /// [`Features::LOGICAL_DESTINATION`](crate::Features::LOGICAL_DESTINATION).
        LOGICAL = 1,
    }
}

/// Where an interrupt goes, as 16 bytes of an [`EntryRecord`](crate::EntryRecord), whose [`Arch`] gives them their
/// meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Routing {
    /// For [`Arch::X86_APIC`]: the destination, all 32 bits of it.
    pub destination: u32,
    /// For [`Arch::X86_APIC`]: the vector, 32 to 255; of several messages that of the first.
    pub vector: u8,
    /// For [`Arch::X86_APIC`]: the number of a [`DeliveryMode`].
    pub delivery_mode: u8,
    /// For [`Arch::X86_APIC`]: the number of a [`DestinationMode`].
    pub destination_mode: u8,
    /// For [`Arch::X86_APIC`]: bit 0 is the redirection hint, the other bits are zero.
    pub hint: u8,
    /// Reserved, zero.
    pub reserved: u64,
}

const _: () = assert!(size_of::<Routing>() == 16);
const _: () = assert!(offset_of!(Routing, destination) == 0);
const _: () = assert!(offset_of!(Routing, vector) == 4);
const _: () = assert!(offset_of!(Routing, delivery_mode) == 5);
const _: () = assert!(offset_of!(Routing, destination_mode) == 6);
const _: () = assert!(offset_of!(Routing, hint) == 7);
const _: () = assert!(offset_of!(Routing, reserved) == 8);

/// A routing to a local APIC of x86, with the types of its fields. [`Routing`] is its form in a record.
///
/// [`X86Route::fixed`] makes what nearly every guest wants; the others change one part of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct X86Route {
    /// The destination: in physical mode an APIC id, in logical mode a logical id of x2APIC mode.
    pub destination: u32,
    /// The vector, 32 to 255; of several messages that of the first.
    pub vector: u8,
    /// The delivery mode.
    pub delivery_mode: DeliveryMode,
    /// The destination mode.
    pub destination_mode: DestinationMode,
    /// The redirection hint: whether the host may choose one of several destinations (statement L3).
    pub hint: bool,
}

impl X86Route {
    /// Fixed delivery of `vector` to the vCPU whose APIC id is `destination`, in physical mode: what nearly every
    /// guest wants.
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

    /// The same routing with this delivery mode.
    #[must_use]
    pub const fn with_delivery_mode(self, delivery_mode: DeliveryMode) -> Self {
        Self { delivery_mode, ..self }
    }

    /// The same routing with this destination mode.
    #[must_use]
    pub const fn with_destination_mode(self, destination_mode: DestinationMode) -> Self {
        Self { destination_mode, ..self }
    }

    /// The same routing, with the redirection hint as said.
    #[must_use]
    pub const fn with_hint(self, hint: bool) -> Self {
        Self { hint, ..self }
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
