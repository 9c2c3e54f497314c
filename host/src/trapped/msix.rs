//! Emulated MSI-X registers: the table, the pending bits and message control.
//!
//! PCI Express Base Specification 6.0, sections 6.1.4 "MSI and MSI-X Operation" and 7.7.2 "MSI-X Capability and Table
//! Structure".

use super::{ChangedMessages, DesiredState, places};
use crate::message::Message;
use pvir_abi::Pair;

/// Bytes of an entry.
const ENTRY: u64 = 16;
/// Word of an entry that holds its mask bit, and the only bit of it that is kept.
const CONTROL: usize = 3;
const MASK: u32 = 1;

/// Offset of message control in the capability, and its bits that a guest can set.
const MESSAGE_CONTROL: usize = 2;
const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;

/// An emulated MSI-X table.
#[derive(Clone, Debug)]
pub struct EmulatedMsix {
    entries: Vec<[u32; 4]>,
    control: u16,
}

impl EmulatedMsix {
    /// A table of `entries` (1 to 2048) in its state after a reset of the device: MSI-X is disabled, every entry is
    /// masked, and all addresses and data are zero.
    #[must_use]
    pub fn new(entries: u32) -> Self {
        let entries = entries.clamp(1, 2048);
        let last = u16::try_from(entries - 1).unwrap_or(0x7ff);
        Self { entries: vec![[0, 0, 0, MASK]; entries as usize], control: last }
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// Whether MSI-X is enabled.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.control & ENABLE != 0
    }

    /// Whether entry `index` is masked, by its own mask bit or by Function Mask. An entry that does not exist counts
    /// as masked.
    #[must_use]
    pub fn is_masked(&self, index: u32) -> bool {
        let entry = self.entries.get(index as usize);
        self.control & FUNCTION_MASK != 0 || entry.is_none_or(|words| words[CONTROL] & MASK != 0)
    }

    /// The state that the registers ask for, of entry `index`.
    #[must_use]
    pub fn desired_state(&self, index: u32) -> DesiredState {
        match self.entries.get(index as usize) {
            _ if !self.is_enabled() => DesiredState::Off,
            Some(&[low, high, data, _]) if !self.is_masked(index) => {
                let pair = Pair { address: u64::from(high) << 32 | u64::from(low), data };
                Message::validate(pair).map_or_else(DesiredState::Void, DesiredState::On)
            }
            Some(_) => DesiredState::Masked,
            None => DesiredState::Off,
        }
    }

    /// Reads the table from byte `offset` on, with an aligned access of 4 or 8 bytes. Any other access, and what is
    /// beyond the table, reads as ones.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        read_words(offset, data, |at| {
            let (index, word) = place(at)?;
            Some(self.entries.get(index)?[word])
        });
    }

    /// Writes the table from byte `offset` on, with an aligned access of 4 or 8 bytes. Any other access is dropped.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> ChangedMessages {
        let mut changed = ChangedMessages::Nothing;
        if !is_allowed(offset, data.len()) {
            return changed;
        }
        for (bytes, at) in data.chunks_exact(4).zip((offset..).step_by(4)) {
            let (Some((index, word)), Ok(bytes)) = (place(at), bytes.try_into()) else { continue };
            let kept = if word == CONTROL { MASK } else { u32::MAX };
            if let (Some(entry), Ok(number)) = (self.entries.get_mut(index), u32::try_from(index)) {
                entry[word] = u32::from_le_bytes(bytes) & kept;
                changed = ChangedMessages::One(number);
            }
        }
        changed
    }

    /// Reads the pending bits from byte `offset` on, with an aligned access of 4 or 8 bytes. `pending` is called for
    /// masked entries only. Any other access reads as ones; bits beyond the last entry are zero.
    pub fn read_pending(&self, offset: u64, data: &mut [u8], mut pending: impl FnMut(u32) -> bool) {
        read_words(offset, data, |at| {
            let first = u32::try_from(at).ok()?.checked_mul(8)?;
            let held = |bit: &u32| {
                let index = first.saturating_add(*bit);
                index < self.entries() && self.is_enabled() && self.is_masked(index) && pending(index)
            };
            Some((0..32).filter(held).fold(0, |word, bit| word | 1 << bit))
        });
    }

    /// Reads message control. `offset` counts from the capability's id, in bytes. Bytes of `data` that are not in
    /// message control keep their values.
    pub fn read_control(&self, offset: u64, data: &mut [u8]) {
        let bytes = self.control.to_le_bytes();
        for (at, byte) in places(offset, data.len()).zip(data) {
            let at = at.and_then(|at| at.checked_sub(MESSAGE_CONTROL));
            if let Some(value) = at.and_then(|at| bytes.get(at)) {
                *byte = *value;
            }
        }
    }

    /// Writes message control. `offset` counts from the capability's id, in bytes. Only MSI-X Enable and Function
    /// Mask can be changed.
    pub fn write_control(&mut self, offset: u64, data: &[u8]) -> ChangedMessages {
        let before = self.control;
        let mut bytes = before.to_le_bytes();
        for (at, new) in places(offset, data.len()).zip(data) {
            let at = at.and_then(|at| at.checked_sub(MESSAGE_CONTROL));
            if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
                *byte = *new;
            }
        }
        const WRITABLE: u16 = ENABLE | FUNCTION_MASK;
        self.control = before & !WRITABLE | u16::from_le_bytes(bytes) & WRITABLE;
        if self.control == before { ChangedMessages::Nothing } else { ChangedMessages::All }
    }

    /// The words of each entry, and message control.
    pub(super) fn words(&self) -> (&[[u32; 4]], u16) {
        (&self.entries, self.control)
    }

    /// A table of these words and this message control; `None` if a guest cannot have written them.
    pub(super) fn of_words(entries: &[[u32; 4]], control: u16) -> Option<Self> {
        let number = u32::try_from(entries.len()).ok().filter(|number| (1..=2048).contains(number))?;
        let read_only = !(ENABLE | FUNCTION_MASK);
        let same = control & read_only == Self::new(number).control;
        let clean = entries.iter().all(|words| words[CONTROL] & !MASK == 0);
        (same && clean).then(|| Self { entries: entries.to_vec(), control })
    }

    /// Masks every entry and zeroes all addresses and data. Message control keeps its value.
    pub fn clear(&mut self) {
        self.entries.fill([0, 0, 0, MASK]);
    }
}

/// Entry and word of an aligned offset in the table.
fn place(offset: u64) -> Option<(usize, usize)> {
    Some((usize::try_from(offset / ENTRY).ok()?, (offset % ENTRY / 4) as usize))
}

/// Aligned doublewords and quadwords (section 7.7.2); software must not use others.
fn is_allowed(offset: u64, len: usize) -> bool {
    matches!(len, 4 | 8) && offset % len as u64 == 0
}

/// Reads by words; ones for an access that is not allowed, or where `word` has none.
fn read_words(offset: u64, data: &mut [u8], mut word: impl FnMut(u64) -> Option<u32>) {
    if !is_allowed(offset, data.len()) {
        return data.fill(0xff);
    }
    for (bytes, at) in data.chunks_exact_mut(4).zip((offset..).step_by(4)) {
        bytes.copy_from_slice(&word(at).unwrap_or(u32::MAX).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(words: &[(u64, u32)]) -> EmulatedMsix {
        let mut table = EmulatedMsix::new(3);
        for (at, word) in words {
            table.write(*at, &word.to_le_bytes());
        }
        table
    }

    fn entry(table: &EmulatedMsix, index: u64) -> [u32; 4] {
        std::array::from_fn(|word| {
            let mut bytes = [0; 4];
            table.read(index * 16 + word as u64 * 4, &mut bytes);
            u32::from_le_bytes(bytes)
        })
    }

    fn control(table: &mut EmulatedMsix, enable: bool, function_mask: bool) {
        let bits = if enable { ENABLE } else { 0 } | if function_mask { FUNCTION_MASK } else { 0 };
        table.write_control(2, &bits.to_le_bytes());
    }

    /// Every state of the three bits, with a message that is good or not, reached from every other.
    #[test]
    fn the_desired_state_follows_from_the_bits_alone() {
        let states = || (0..16u8).map(|state| [1, 2, 4, 8].map(|bit| state & bit != 0));
        for from in states() {
            for to in states() {
                let mut table = EmulatedMsix::new(3);
                for [enable, function_mask, masked, good] in [from, to] {
                    control(&mut table, enable, function_mask);
                    table.write(16, &[if good { 0 } else { 1 }, 0x30, 0xe0, 0xfe, 0, 0, 0, 0]);
                    let rest = [0x41, 0, 0, 0, u8::from(masked), 0, 0, 0];
                    assert_eq!(table.write(24, &rest), ChangedMessages::One(1));
                }
                let [enable, function_mask, masked, good] = to;
                let message = Message::validate(Pair { address: 0xfee0_3000, data: 0x41 }).unwrap();
                let expected = match (enable, function_mask || masked, good) {
                    (false, ..) => DesiredState::Off,
                    (true, true, _) => DesiredState::Masked,
                    (true, false, true) => DesiredState::On(message),
                    (true, false, false) => DesiredState::Void(crate::message::NotDeliverable::Address),
                };
                assert_eq!(table.desired_state(1), expected, "{from:?} to {to:?}");
                let other = if enable { DesiredState::Masked } else { DesiredState::Off };
                assert_eq!((table.desired_state(0), table.desired_state(3)), (other, DesiredState::Off));
            }
        }
    }

    #[test]
    fn entries_are_kept_but_reserved_bits_are_not() {
        let table = written(&[(16, !0), (20, !0), (24, !0), (28, !0), (12, !1)]);
        assert_eq!((entry(&table, 1), entry(&table, 0)), ([!0, !0, !0, 1], [0; 4]));
        assert_eq!(entry(&table, 2), [0, 0, 0, 1]);
    }

    /// Every offset and length, inside and across the end.
    #[test]
    fn aligned_doublewords_and_quadwords_only() {
        for len in 0..=9usize {
            for offset in (0..64).chain([u64::MAX - 7, u64::MAX - 3, u64::MAX]) {
                let mut table = EmulatedMsix::new(3);
                let allowed = matches!(len, 4 | 8) && offset % len as u64 == 0;
                let inside = allowed && offset < 48;
                let answered = table.write(offset, &[0xff; 9][..len]);
                let index = u32::try_from(offset / 16).unwrap_or(u32::MAX);
                let expected = if inside { ChangedMessages::One(index) } else { ChangedMessages::Nothing };
                assert_eq!(answered, expected, "{len} bytes at {offset}");
                let changed = (0..3).any(|index| entry(&table, index) != [0, 0, 0, 1]);
                // the mask bit alone stays as it was
                assert_eq!(changed, inside && !(len == 4 && offset % 16 == 12), "{len} bytes at {offset}");
                let mut seen = [0x55; 9];
                EmulatedMsix::new(3).read(offset, &mut seen[..len]);
                assert_eq!(seen[..len] == [0xff; 9][..len], !inside, "{len} bytes at {offset}");
            }
        }
    }

    #[test]
    fn pending_bits_are_those_of_masked_entries() {
        let mut table = EmulatedMsix::new(70);
        let word = |table: &EmulatedMsix, offset| {
            let mut bytes = [9; 4];
            table.read_pending(offset, &mut bytes, |index| index % 3 == 0);
            u32::from_le_bytes(bytes)
        };
        assert_eq!(word(&table, 0), 0, "disabled");
        control(&mut table, true, false);
        table.write(3 * 16 + 12, &[0; 4]);
        assert_eq!(word(&table, 0), 0x4924_9249 & !(1 << 3));
        assert_eq!((word(&table, 8), word(&table, 12), word(&table, 16)), (0b10_0100, 0, 0));
        control(&mut table, true, true);
        assert_eq!(word(&table, 0), 0x4924_9249);
        let mut odd = [0; 2];
        table.read_pending(0, &mut odd, |_| panic!("not asked"));
        assert_eq!(odd, [0xff; 2]);
    }

    #[test]
    fn message_control_keeps_its_two_bits() {
        let mut table = EmulatedMsix::new(10);
        assert_eq!(table.write_control(2, &[0xff, 0xff]), ChangedMessages::All);
        assert_eq!(table.write_control(3, &[0xff]), ChangedMessages::Nothing);
        let mut bytes = [0x55; 6];
        table.read_control(0, &mut bytes);
        assert_eq!(bytes, [0x55, 0x55, 9, 0xc0, 0x55, 0x55]);
        assert_eq!(table.write_control(0, &[0; 3]), ChangedMessages::Nothing);
        assert_eq!(table.write_control(0, &[0; 12]), ChangedMessages::All);
        assert!(!table.is_enabled());
        table.write_control(u64::MAX - 1, &[0xff; 2]);
    }
}
