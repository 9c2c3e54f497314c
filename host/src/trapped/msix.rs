//! MSI-X: the table, the pending bits and message control.
//!
//! PCI Express Base Specification 6.0, sections 6.1.4 "MSI and MSI-X Operation" and 7.7.2 "MSI-X Capability and Table
//! Structure".

use super::{Message, Touched, Wanted};
use pvir_abi::Pair;

/// Bytes of an entry.
const ENTRY: u64 = 16;
/// Word of an entry that holds its mask bit, and the only bit of it that is kept.
const CONTROL: usize = 3;
const MASK: u32 = 1;

/// Where message control stands in the capability, and its bits that a guest can set.
const MESSAGE_CONTROL: u64 = 2;
const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;

/// An emulated MSI-X table.
#[derive(Clone, Debug)]
pub struct MsixTable {
    entries: Vec<[u32; 4]>,
    control: u16,
}

impl MsixTable {
    /// As after a reset of the device: disabled, all masked, the rest zero. There are 1 to 2048 entries.
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

    /// Whether an entry is masked, by itself or by the Function Mask. One that does not exist is.
    #[must_use]
    pub fn is_masked(&self, index: u32) -> bool {
        let entry = self.entries.get(index as usize);
        self.control & FUNCTION_MASK != 0 || entry.is_none_or(|words| words[CONTROL] & MASK != 0)
    }

    /// What is to become of an entry's interrupts.
    #[must_use]
    pub fn wanted(&self, index: u32) -> Wanted {
        match self.entries.get(index as usize) {
            _ if !self.is_enabled() => Wanted::Off,
            Some(&[low, high, data, _]) if !self.is_masked(index) => {
                let pair = Pair { address: u64::from(high) << 32 | u64::from(low), data };
                Message::judge(pair).map_or_else(Wanted::Void, Wanted::On)
            }
            Some(_) => Wanted::Masked,
            None => Wanted::Off,
        }
    }

    /// Reads the table with an access of 4 or 8 aligned bytes. Others, and what is behind the end, read as ones.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        read_words(offset, data, |at| {
            let (index, word) = place(at)?;
            Some(self.entries.get(index)?[word])
        });
    }

    /// Writes the table likewise. Others are dropped.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Touched {
        let mut touched = Touched::Nothing;
        if !is_allowed(offset, data.len()) {
            return touched;
        }
        for (bytes, at) in data.chunks_exact(4).zip((offset..).step_by(4)) {
            let (Some((index, word)), Ok(bytes)) = (place(at), bytes.try_into()) else { continue };
            let kept = if word == CONTROL { MASK } else { u32::MAX };
            if let (Some(entry), Ok(number)) = (self.entries.get_mut(index), u32::try_from(index)) {
                entry[word] = u32::from_le_bytes(bytes) & kept;
                touched = Touched::One(number);
            }
        }
        touched
    }

    /// Reads the pending bits with an access of 4 or 8 aligned bytes; `pending` is asked of masked entries only.
    /// Others read as ones; behind the last entry is zero.
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

    /// Reads message control; `offset` counts from the capability's id. Other bytes are left alone.
    pub fn read_control(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            let bytes = self.control.to_le_bytes();
            if let Some(value) = at.checked_sub(MESSAGE_CONTROL).and_then(|at| bytes.get(at as usize)) {
                *byte = *value;
            }
        }
    }

    /// Writes message control likewise.
    pub fn write_control(&mut self, offset: u64, data: &[u8]) -> Touched {
        let before = self.control;
        let mut bytes = before.to_le_bytes();
        for (at, new) in (offset..).zip(data) {
            let at = at.checked_sub(MESSAGE_CONTROL).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
                *byte = *new;
            }
        }
        const WRITABLE: u16 = ENABLE | FUNCTION_MASK;
        self.control = before & !WRITABLE | u16::from_le_bytes(bytes) & WRITABLE;
        if self.control == before { Touched::Nothing } else { Touched::All }
    }

    /// Masks every entry and zeroes the rest; message control stays.
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
