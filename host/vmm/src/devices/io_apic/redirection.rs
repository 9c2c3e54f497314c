//! An entry of the redirection table, and the message that its pin sends.

use pvir_abi::Pair;

use serde::{Deserialize, Serialize};

use crate::vm::layout;

/// Bits of an entry; of its second byte the delivery mode.
const DELIVERY_MODE: u8 = 7;
const LOGICAL: u64 = 1 << 11;
const DELIVERY_STATUS: u64 = 1 << 12;
const REMOTE_IRR: u64 = 1 << 14;
const MASKED: u64 = 1 << 16;
const READ_ONLY: u64 = DELIVERY_STATUS | REMOTE_IRR;

/// One entry: where the interrupts of a pin go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Redirection(u64);

impl Redirection {
    /// The state after reset: masked.
    pub(super) const MASKED: Self = Self(MASKED);

    pub(super) fn is_masked(self) -> bool {
        self.0 & MASKED != 0
    }

    /// Whether a guest can have set it.
    pub(super) fn is_possible(self) -> bool {
        self.0 & READ_ONLY == 0
    }

    /// One of the two registers of the entry.
    pub(super) fn half(self, high: bool) -> u32 {
        let bytes = self.0.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        u32::from_le_bytes(if high { [e, f, g, h] } else { [a, b, c, d] })
    }

    /// The guest writes one of the two registers of the entry.
    pub(super) fn set_half(&mut self, high: bool, value: u32) {
        let (shift, kept) = if high { (32, u64::from(u32::MAX)) } else { (0, u64::from(u32::MAX) << 32) };
        self.0 = (self.0 & kept) | (u64::from(value) << shift) & !READ_ONLY;
    }

    /// The message of the entry. It is always edge-triggered: no device here holds a pin, so none needs the end of an interrupt.
    ///
    /// Bits 55:49 of an entry are bits 14:8 of the destination, as Linux has them where a hypervisor says so
    /// (`KVM_FEATURE_MSI_EXT_DEST_ID`; Linux, "arch/x86/include/asm/io_apic.h"). They go to address bits 11:5.
    pub(super) fn message(self) -> Pair {
        let [vector, mode, _, _, _, _, extended, destination] = self.0.to_le_bytes();
        let address = u64::from(destination) << 12
            | u64::from(extended >> 1) << 5
            | u64::from(self.0 & LOGICAL != 0) << 2;
        Pair {
            address: layout::LAPIC.start | address,
            data: u32::from_le_bytes([vector, mode & DELIVERY_MODE, 0, 0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_written_apart_and_status_bits_not_at_all() {
        let mut entry = Redirection::MASKED;
        entry.set_half(true, 0x0100_0000);
        entry.set_half(false, 0xffff_ffff);
        assert_eq!((entry.half(false), entry.half(true)), (0xffff_afff, 0x0100_0000));
        assert!(entry.is_masked());
        entry.set_half(false, 0x31);
        assert_eq!((entry.half(false), entry.half(true), entry.is_masked()), (0x31, 0x0100_0000, false));
    }

    #[test]
    fn message_has_the_destination_with_its_extended_bits() {
        let mut entry = Redirection::MASKED;
        entry.set_half(false, 0x0931);
        entry.set_half(true, 0x2c02_0000);
        assert_eq!(entry.message(), Pair { address: 0xfee2_c004 | 1 << 5, data: 0x131 });
        let message = pvir_host::message::Message::validate(entry.message()).unwrap();
        assert_eq!((message.destination(), message.is_logical(), message.vector()), (300, true, 0x31));
    }
}
