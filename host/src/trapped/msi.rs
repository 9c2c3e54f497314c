//! An emulated MSI capability, with 32-bit or 64-bit address, with or without mask bits.
//!
//! PCI Express Base Specification 6.0, sections 6.1.4 "MSI and MSI-X Operation" and 7.7.1 "MSI Capability
//! Structures".

use super::{ChangedMessages, DesiredState, places};
use crate::message::Message;
use crate::pci::MsiShape;
use pvir_abi::Pair;

/// Message control.
const CONTROL: usize = 0x02;
const ADDRESS: usize = 0x04;
const UPPER_ADDRESS: usize = 0x08;
const ENABLE: u8 = 1;
/// Bits of message control's low byte: log2 of messages capable (3:1) and enabled (6:4), 64-bit address.
const CAPABLE_SHIFT: u32 = 1;
const ENABLED_SHIFT: u32 = 4;
const WIDE: u8 = 1 << 7;
/// Bit of its high byte: mask bits.
const MASKABLE: u8 = 1;
/// The longest capability.
pub(super) const MAX_LEN: usize = 0x18;

/// An emulated MSI capability.
#[derive(Clone, Debug)]
pub struct EmulatedMsi {
    shape: MsiShape,
    /// The bytes of the capability, from its id on. Id and link are not kept here.
    bytes: [u8; MAX_LEN],
}

impl EmulatedMsi {
    /// A capability of the form `shape` in its state after a reset of the device: MSI is disabled, no message is
    /// masked, and all other registers are zero.
    #[must_use]
    pub fn new(shape: MsiShape) -> Self {
        let mut bytes = [0; MAX_LEN];
        bytes[CONTROL] = shape.messages_log2.min(5) << CAPABLE_SHIFT | if shape.wide { WIDE } else { 0 };
        bytes[CONTROL + 1] = if shape.maskable { MASKABLE } else { 0 };
        Self { shape, bytes }
    }

    /// The form of the capability.
    #[must_use]
    pub fn shape(&self) -> MsiShape {
        self.shape
    }

    /// The registers, from the capability's id on.
    pub(super) fn bytes(&self) -> &[u8; MAX_LEN] {
        &self.bytes
    }

    /// A capability of the form `shape` with these registers; `None` if a guest cannot have written them.
    pub(super) fn of_bytes(shape: MsiShape, bytes: &[u8; MAX_LEN]) -> Option<Self> {
        let mut capability = Self::new(shape);
        capability.write(0, bytes);
        (capability.bytes == *bytes).then_some(capability)
    }

    /// Whether MSI is enabled.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.bytes[CONTROL] & ENABLE != 0
    }

    /// Number of messages that MSI is enabled for, 1 to 32. A guest that enables more than the device has gets as
    /// many as the device has.
    #[must_use]
    pub fn messages(&self) -> u32 {
        let log2 = self.bytes[CONTROL] >> ENABLED_SHIFT & 7;
        1 << log2.min(self.shape.messages_log2).min(5)
    }

    /// Whether a message is masked.
    #[must_use]
    pub fn is_masked(&self, index: u32) -> bool {
        self.shape.maskable && self.word(usize::from(self.shape.mask())) >> (index & 31) & 1 != 0
    }

    /// The state that the registers ask for, of message `index`.
    #[must_use]
    pub fn desired_state(&self, index: u32) -> DesiredState {
        let messages = self.messages();
        if !self.is_enabled() || index >= messages {
            return DesiredState::Off;
        }
        if self.is_masked(index) {
            return DesiredState::Masked;
        }
        let high = if self.shape.wide { self.word(UPPER_ADDRESS) } else { 0 };
        let data = self.word(usize::from(self.shape.data())) & 0xffff;
        let pair = Pair {
            address: u64::from(high) << 32 | u64::from(self.word(ADDRESS)),
            // The device puts the message's number into the low bits.
            data: data & !(messages - 1) | index,
        };
        Message::validate(pair).map_or_else(DesiredState::Void, DesiredState::On)
    }

    /// Reads the capability's registers behind its id and link. Bytes of `data` outside of them keep their values.
    /// `pending` is called for masked messages only.
    pub fn read(&self, offset: u64, data: &mut [u8], mut pending: impl FnMut(u32) -> bool) {
        let mut all = self.bytes;
        let bits = usize::from(self.shape.mask()) + 4;
        if self.shape.maskable && places(offset, data.len()).flatten().any(|at| at >= bits) {
            let held = |index: &u32| {
                self.is_enabled() && *index < self.messages() && self.is_masked(*index) && pending(*index)
            };
            let word: u32 = (0..32).filter(held).fold(0, |word, index| word | 1 << index);
            all[bits..bits + 4].copy_from_slice(&word.to_le_bytes());
        }
        for (at, byte) in places(offset, data.len()).zip(data) {
            let at = at.filter(|at| (CONTROL..usize::from(self.shape.size())).contains(at));
            if let Some(value) = at.and_then(|at| all.get(at)) {
                *byte = *value;
            }
        }
    }

    /// Writes the capability's registers. Each bit follows its own rule: read-only bits keep their values.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> ChangedMessages {
        let before = self.bytes;
        for (at, new) in places(offset, data.len()).zip(data) {
            let Some(at) = at.filter(|at| *at < usize::from(self.shape.size())) else { continue };
            let writable = self.writable(at);
            self.bytes[at] = before[at] & !writable | new & writable;
        }
        if self.bytes == before { ChangedMessages::Nothing } else { ChangedMessages::All }
    }

    /// Whether a byte belongs to the mask or the pending bits.
    #[must_use]
    pub fn is_mask_or_pending(&self, offset: u64) -> bool {
        let range = usize::from(self.shape.mask()) as u64..usize::from(self.shape.size()) as u64;
        self.shape.maskable && range.contains(&offset)
    }

    /// Bits of a byte that a guest can set.
    fn writable(&self, at: usize) -> u8 {
        let (data, mask) = (usize::from(self.shape.data()), usize::from(self.shape.mask()));
        match at {
            CONTROL => ENABLE | 7 << ENABLED_SHIFT,
            ADDRESS => 0xfc,
            _ if (ADDRESS + 1..data + 2).contains(&at) => 0xff,
            _ if self.shape.maskable && (mask..mask + 4).contains(&at) => {
                let bits = u32::MAX >> (32 - self.shape.messages());
                bits.to_le_bytes()[at - mask]
            }
            _ => 0,
        }
    }

    fn word(&self, at: usize) -> u32 {
        (0..4).fold(0, |word, byte| word | u32::from(self.bytes[at + byte]) << (8 * byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::NotDeliverable;

    const SHAPES: [(bool, bool, usize); 4] =
        [(false, false, 0x0a), (true, false, 0x0e), (false, true, 0x14), (true, true, 0x18)];

    fn shape(wide: bool, maskable: bool, messages_log2: u8) -> MsiShape {
        MsiShape { wide, maskable, messages_log2 }
    }

    fn all(capability: &EmulatedMsi) -> [u8; 0x20] {
        let mut bytes = [0x55; 0x20];
        capability.read(0, &mut bytes, |_| false);
        bytes
    }

    /// Programmed to CPU 3 with vector 0x48, enabled for 2^`log2` messages.
    fn programmed(shape: MsiShape, log2: u8) -> EmulatedMsi {
        let mut capability = EmulatedMsi::new(shape);
        capability.write(4, &0xfee0_3000_u32.to_le_bytes());
        capability.write(shape.data().into(), &[0x48, 0]);
        capability.write(2, &[ENABLE | log2 << ENABLED_SHIFT]);
        capability
    }

    #[test]
    fn hostile_writes_change_what_is_writable_only() {
        for (wide, maskable, size) in SHAPES {
            let shape = shape(wide, maskable, 2);
            assert_eq!(usize::from(shape.size()), size);
            let mut capability = EmulatedMsi::new(shape);
            let before = all(&capability);
            for at in (0..0x40).chain([u64::MAX]) {
                capability.write(at, &[0xff]);
            }
            let after = all(&capability);
            let changed: Vec<(usize, u8)> =
                (0..0x20).map(|at| (at, before[at] ^ after[at])).filter(|(_, bits)| *bits != 0).collect();
            let mut expected = vec![(2, 0x71), (4, 0xfc)];
            expected.extend((5..usize::from(shape.data()) + 2).map(|at| (at, 0xff)));
            expected.extend(maskable.then_some((usize::from(shape.mask()), 0x0f)));
            assert_eq!(changed, expected);
            assert_eq!(after[2] & 0x8e, 2 << 1 | if wide { 0x80 } else { 0 });
            assert_eq!((after[3], &after[size..]), (u8::from(maskable), &[0x55; 0x20][size..]));
            assert_eq!((after[0], after[1]), (0x55, 0x55));
        }
    }

    #[test]
    fn each_message_has_its_number_in_the_data() {
        for (wide, maskable, _) in SHAPES {
            let capability = programmed(shape(wide, maskable, 3), 2);
            assert_eq!(capability.messages(), 4);
            for index in 0..8 {
                let vector = match capability.desired_state(index) {
                    DesiredState::On(message) => Some(u32::from(message.vector())),
                    other => {
                        assert_eq!(other, DesiredState::Off);
                        None
                    }
                };
                assert_eq!(vector, (index < 4).then_some(0x48 + index));
            }
        }
    }

    #[test]
    fn no_more_messages_than_the_device_has() {
        assert_eq!(programmed(shape(true, false, 1), 7).messages(), 2);
        assert_eq!(programmed(shape(true, true, 7), 7).messages(), 32);
    }

    #[test]
    fn mask_bits_hold_and_pending_bits_show() {
        let mut capability = programmed(shape(true, true, 2), 2);
        capability.write(0x10, &[0b0110, 0, 0, 0]);
        assert_eq!(capability.desired_state(1), DesiredState::Masked);
        assert!(matches!(capability.desired_state(3), DesiredState::On(_)));
        let mut bytes = [0; 4];
        let mut asked = Vec::new();
        capability.read(0x14, &mut bytes, |index| {
            asked.push(index);
            index == 2
        });
        assert_eq!((u32::from_le_bytes(bytes), asked), (0b0100, vec![1, 2]));
        capability.read(0x10, &mut bytes, |_| panic!("not asked"));
        assert_eq!(u32::from_le_bytes(bytes), 0b0110);
        assert!(capability.is_mask_or_pending(0x10) && capability.is_mask_or_pending(0x17));
        assert!(!capability.is_mask_or_pending(0x0f) && !capability.is_mask_or_pending(0x18));
    }

    #[test]
    fn bad_messages_and_disabled_ones_are_told_apart() {
        let mut capability = programmed(shape(true, false, 0), 0);
        capability.write(0x08, &[1]);
        assert_eq!(capability.desired_state(0), DesiredState::Void(NotDeliverable::Address));
        assert_eq!(capability.write(2, &[0]), ChangedMessages::All);
        assert_eq!(capability.write(2, &[0]), ChangedMessages::Nothing);
        assert_eq!(capability.desired_state(0), DesiredState::Off);
    }
}
