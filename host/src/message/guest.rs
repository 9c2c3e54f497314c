//! A message that a guest has composed for its own local APICs and written into an emulated store.

use super::{HINT, LOGICAL, LOWEST_PRIORITY, Message};
use pvir_abi::Pair;

/// Why a message that a guest has written raises no interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotDeliverable {
    /// The address is not that of the local APICs (0xfeexxxxx): the message would be a write to memory.
    #[error("the address is not that of a local APIC")]
    Address,
    /// The message is in the remappable format of a remapping unit (Intel VT-d Specification, Rev. 5.10, section
    /// 5.1.2.2), and the VM has no such unit.
    #[error("it is in remappable format, and nothing remaps it")]
    Remappable,
    /// Bits above bit 7 of the destination stand both in address bits 11:5 and in address bits 63:40.
    #[error("the destination has high bits in two places")]
    Destination,
    /// The delivery mode, given by its number, is SMI, NMI, INIT, `ExtINT` or reserved.
    #[error("delivery mode {0} is not for devices")]
    DeliveryMode(u8),
    /// The vector, given by its number, is below 16.
    #[error("vector {0} is illegal")]
    Vector(u8),
    /// The message is level-triggered.
    #[error("it is level-triggered")]
    Level,
}

/// Address bit: the message is in the form of a remapping unit.
const REMAPPABLE: u32 = 1 << 4;
/// Data bit: level-triggered.
const LEVEL: u32 = 1 << 15;
/// The lowest vector that a local APIC takes from a message.
const FIRST_VECTOR: u8 = 16;

impl Message {
    /// Validates an address/data pair as a message to a local APIC (Intel SDM Vol. 3A, "Message Signalled
    /// Interrupts"). It accepts what an MSI can do without a remapping unit, and no more. The destination need not
    /// exist: such a message interrupts no vCPU, as on hardware.
    ///
    /// The architecture has destinations of 8 bits. Bits 14:8 are taken from address bits 11:5, as under hypervisors
    /// that announce `KVM_FEATURE_MSI_EXT_DEST_ID` to Linux; bits 31:8 are taken from address bits 63:40, as in KVM's
    /// own form.
    ///
    /// # Errors
    /// Why the message raises no interrupt. KVM itself would also inject SMI, NMI, INIT and `ExtINT`, the vectors of
    /// exceptions, and level-triggered messages.
    pub fn validate(pair: Pair) -> Result<Self, NotDeliverable> {
        let low = (pair.address & 0xffff_ffff) as u32;
        let high = (pair.address >> 32) as u32;
        if low >> 20 != 0xfee || low & 3 != 0 || high & 0xff != 0 {
            return Err(NotDeliverable::Address);
        }
        if low & REMAPPABLE != 0 {
            return Err(NotDeliverable::Remappable);
        }
        let extended = (low >> 5 & 0x7f) << 8;
        if extended != 0 && high != 0 {
            return Err(NotDeliverable::Destination);
        }
        let [vector, modes, ..] = pair.data.to_le_bytes();
        if let other @ 2.. = modes & 7 {
            return Err(NotDeliverable::DeliveryMode(other));
        }
        if pair.data & LEVEL != 0 {
            return Err(NotDeliverable::Level);
        }
        if vector < FIRST_VECTOR {
            return Err(NotDeliverable::Vector(vector));
        }
        let mut message = Self::fixed(low >> 12 & 0xff | extended | high, vector);
        message.address_lo |= low & (LOGICAL | HINT);
        message.data |= pair.data & LOWEST_PRIORITY;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(address: u64, data: u32) -> Result<(u32, u8), NotDeliverable> {
        Message::validate(Pair { address, data }).map(|message| (message.destination(), message.vector()))
    }

    #[test]
    fn destinations_have_three_forms() {
        assert_eq!(validate(0xfee0_3000, 0x31), Ok((3, 0x31)));
        assert_eq!(validate(0xfeef_f000, 0xff), Ok((0xff, 0xff)));
        assert_eq!(validate(0xfee2_c020, 0x31), Ok((300, 0x31)), "address bits 11:5");
        assert_eq!(validate(0xfeef_ffe0, 0x31), Ok((0x7fff, 0x31)));
        assert_eq!(validate(0x0000_0001_fee2_c000, 0x31), Err(NotDeliverable::Address), "bits 39:32");
        assert_eq!(validate(0x0000_0100_fee2_c000, 0x31), Ok((300, 0x31)), "address bits 63:40");
        assert_eq!(validate(0x1234_5600_fee7_8000, 0x31), Ok((0x1234_5678, 0x31)));
        assert_eq!(validate(0x0000_0100_fee2_c020, 0x31), Err(NotDeliverable::Destination));
    }

    #[test]
    fn modes_are_those_of_devices() {
        let all = Message::validate(Pair { address: 0xfee0_300c, data: 0x4131 }).unwrap();
        assert!(all.is_logical() && all.is_hinted() && all.is_lowest_priority());
        let none = Message::validate(Pair { address: 0xfee0_3000, data: 0x31 }).unwrap();
        assert!(!none.is_logical() && !none.is_hinted() && !none.is_lowest_priority());
        for mode in 2..8u8 {
            let data = u32::from(mode) << 8 | 0x31;
            assert_eq!(validate(0xfee0_3000, data), Err(NotDeliverable::DeliveryMode(mode)));
        }
        assert_eq!(validate(0xfee0_3000, 0xc031), Err(NotDeliverable::Level));
    }

    #[test]
    fn every_vector_and_every_bit_of_the_address_is_validated() {
        for vector in 0..=255u8 {
            assert_eq!(validate(0xfee0_3000, vector.into()).is_ok(), vector >= 16, "{vector}");
        }
        for bit in 0..40 {
            let validated = validate(0xfee0_3000 ^ 1 << bit, 0x31);
            let fits = matches!(bit, 2 | 3 | 5..=19);
            assert_eq!(validated.is_ok(), fits, "bit {bit}: {validated:?}");
        }
        assert_eq!(validate(0xfee0_3010, 0x31), Err(NotDeliverable::Remappable));
        assert_eq!(validate(0, 0), Err(NotDeliverable::Address));
    }

    #[test]
    fn modes_are_kept_in_the_form_of_kvm() {
        let message = Message::validate(Pair { address: 0xfee0_300c, data: 0x4131 }).unwrap();
        assert_eq!((message.address_lo, message.address_hi, message.data), (0xfee0_300c, 0, 0x131));
    }

    /// Hardware ignores what is reserved in the data.
    #[test]
    fn reserved_bits_of_the_data_say_nothing() {
        assert_eq!(validate(0xfee0_3000, 0xffff_3831 & !0x0700), Ok((3, 0x31)));
    }
}
