//! A message as KVM takes it.

use crate::irte::Route;
use crate::trapped::Message;

/// What a line of KVM's routing table injects: made from what was validated only, a [`Route`] or a guest's own
/// [`Message`].
///
/// In KVM's 32-bit form (`KVM_X2APIC_API_USE_32BIT_IDS`): bits 31:8 of the destination stand in bits 31:8 of
/// `address_hi` (KVM API, 4.52 `KVM_SET_GSI_ROUTING`; Intel SDM Vol. 3A, "Message Signalled Interrupts").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KvmMessage {
    address_lo: u32,
    address_hi: u32,
    data: u32,
}

impl KvmMessage {
    /// Bits 31:0 of the address.
    #[must_use]
    pub fn address_lo(self) -> u32 {
        self.address_lo
    }

    /// Bits 63:32 of the address.
    #[must_use]
    pub fn address_hi(self) -> u32 {
        self.address_hi
    }

    /// The data.
    #[must_use]
    pub fn data(self) -> u32 {
        self.data
    }

    /// Its destination: an APIC id, or a set of them in logical mode.
    #[must_use]
    pub fn destination(self) -> u32 {
        self.address_lo >> 12 & 0xff | self.address_hi & 0xffff_ff00
    }

    /// Its vector.
    #[must_use]
    pub fn vector(self) -> u8 {
        self.data.to_le_bytes()[0]
    }

    fn to(destination: u32, vector: u8) -> Self {
        Self {
            address_lo: 0xfee0_0000 | (destination & 0xff) << 12,
            address_hi: destination & 0xffff_ff00,
            data: vector.into(),
        }
    }
}

/// Fixed, physical, edge-triggered.
impl From<Route> for KvmMessage {
    fn from(route: Route) -> Self {
        Self::to(route.destination(), route.vector())
    }
}

impl From<Message> for KvmMessage {
    fn from(message: Message) -> Self {
        const LOGICAL: u32 = 1 << 2;
        const HINT: u32 = 1 << 3;
        const LOWEST_PRIORITY: u32 = 1 << 8;
        let mut to = Self::to(message.destination(), message.vector());
        to.address_lo |= if message.is_logical() { LOGICAL } else { 0 };
        to.address_lo |= if message.is_hinted() { HINT } else { 0 };
        to.data |= if message.is_lowest_priority() { LOWEST_PRIORITY } else { 0 };
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvir_abi::Pair;

    fn routed(destination: u32, vector: u8) -> (u32, u32, u32) {
        let message = KvmMessage::from(Route::for_tests(destination, vector));
        assert_eq!((message.destination(), message.vector()), (destination, vector));
        (message.address_lo, message.address_hi, message.data)
    }

    #[test]
    fn small_destination_is_in_the_low_address() {
        assert_eq!(routed(1, 0x51), (0xfee0_1000, 0, 0x51));
        assert_eq!(routed(254, 0xff), (0xfeef_e000, 0, 0xff));
    }

    #[test]
    fn large_destination_spills_into_the_high_address() {
        assert_eq!(routed(300, 0x51), (0xfee2_c000, 0x100, 0x51));
        assert_eq!(routed(0x1234_5678, 0x20), (0xfee7_8000, 0x1234_5600, 0x20));
    }

    #[test]
    fn modes_of_a_guests_message_are_kept() {
        let all = Message::judge(Pair { address: 0xfee0_300c, data: 0x4131 }).unwrap();
        let message = KvmMessage::from(all);
        assert_eq!((message.address_lo, message.address_hi, message.data), (0xfee0_300c, 0, 0x131));
    }
}
