//! Interrupt messages for a VM's local APICs, in the form of KVM's MSI routes.
//!
//! KVM validates almost nothing of what it injects. A [`Message`] is therefore the proof that it has been validated,
//! and the KVM backend takes nothing else. [`RoutePolicy::validate`](crate::irte::RoutePolicy::validate) makes
//! one of a routing that the guest has requested by hypercall, and [`Message::validate`] makes one of a message that
//! the guest has written into an emulated store.

mod guest;

pub use guest::NotDeliverable;

/// A validated interrupt message: what KVM injects when a GSI is raised.
///
/// It is kept in KVM's 32-bit form (`KVM_X2APIC_API_USE_32BIT_IDS`). Bits 7:0 of the destination stand in bits 19:12
/// of the low address, bits 31:8 in bits 31:8 of the high address (KVM API, section 4.52 `KVM_SET_GSI_ROUTING`; Intel
/// SDM Vol. 3A, "Message Signalled Interrupts").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Message {
    address_lo: u32,
    address_hi: u32,
    data: u32,
}

/// Address bit: the redirection hint.
const HINT: u32 = 1 << 3;
/// Address bit: the destination is logical.
const LOGICAL: u32 = 1 << 2;
/// Data bit: delivery mode 1, lowest priority.
const LOWEST_PRIORITY: u32 = 1 << 8;

impl Message {
    /// The message of fixed delivery mode and physical destination mode, edge-triggered: `vector` (32 to 255) for the
    /// vCPU whose APIC id is `destination`.
    pub(crate) const fn fixed(destination: u32, vector: u8) -> Self {
        Self {
            address_lo: 0xfee0_0000 | (destination & 0xff) << 12,
            address_hi: destination & 0xffff_ff00,
            data: vector as u32,
        }
    }

    /// Bits 31:0 of the address.
    #[must_use]
    pub const fn address_lo(self) -> u32 {
        self.address_lo
    }

    /// Bits 63:32 of the address.
    #[must_use]
    pub const fn address_hi(self) -> u32 {
        self.address_hi
    }

    /// The 32 bits of data.
    #[must_use]
    pub const fn data(self) -> u32 {
        self.data
    }

    /// The destination: an APIC id, or in logical mode a set of them.
    #[must_use]
    pub const fn destination(self) -> u32 {
        self.address_lo >> 12 & 0xff | self.address_hi & 0xffff_ff00
    }

    /// The interrupt vector.
    #[must_use]
    pub const fn vector(self) -> u8 {
        self.data.to_le_bytes()[0]
    }

    /// Whether the destination mode is logical.
    #[must_use]
    pub const fn is_logical(self) -> bool {
        self.address_lo & LOGICAL != 0
    }

    /// Whether the redirection hint is set.
    #[must_use]
    pub const fn is_hinted(self) -> bool {
        self.address_lo & HINT != 0
    }

    /// Whether the message goes to one vCPU by its APIC id: delivery mode fixed, destination mode physical.
    #[must_use]
    pub const fn is_fixed_physical(self) -> bool {
        !self.is_logical() && !self.is_lowest_priority()
    }

    /// Whether the delivery mode is lowest priority.
    #[must_use]
    pub const fn is_lowest_priority(self) -> bool {
        self.data & LOWEST_PRIORITY != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(destination: u32, vector: u8) -> (u32, u32, u32) {
        let message = Message::fixed(destination, vector);
        assert_eq!((message.destination(), message.vector()), (destination, vector));
        (message.address_lo, message.address_hi, message.data)
    }

    #[test]
    fn small_destination_is_in_the_low_address() {
        assert_eq!(fixed(1, 0x51), (0xfee0_1000, 0, 0x51));
        assert_eq!(fixed(254, 0xff), (0xfeef_e000, 0, 0xff));
    }

    #[test]
    fn large_destination_spills_into_the_high_address() {
        assert_eq!(fixed(300, 0x51), (0xfee2_c000, 0x100, 0x51));
        assert_eq!(fixed(0x1234_5678, 0x20), (0xfee7_8000, 0x1234_5600, 0x20));
    }
}
