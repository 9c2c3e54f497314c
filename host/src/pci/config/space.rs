//! 256 bytes with a rule for each: a byte that nobody has given a rule reads zero and ignores writes.

use std::ops::Range;

/// Size of the standard config space.
pub(crate) const SIZE: usize = 256;

/// Bits of COMMAND that act.
pub(crate) const PORT_DECODE: u16 = 1;
pub(crate) const MEMORY_DECODE: u16 = 1 << 1;
pub(crate) const BUS_MASTER: u16 = 1 << 2;
/// Bits of COMMAND that a guest can set: decode of memory, bus master, parity, SERR, and INTx off. Decode of ports is
/// only there for who has a BAR of ports.
pub(crate) const COMMAND_BITS: u16 = MEMORY_DECODE | BUS_MASTER | 1 << 6 | 1 << 8 | 1 << 10;

pub(crate) const COMMAND: u8 = 0x04;
pub(crate) const STATUS: u8 = 0x06;
/// Bit of STATUS: there is a list of capabilities.
pub(crate) const HAS_LIST: u8 = 1 << 4;
/// Where the list starts.
pub(crate) const FIRST_CAPABILITY: u8 = 0x34;

/// Config space as a guest sees it.
#[derive(Debug, Clone)]
pub(crate) struct ConfigSpace {
    values: [u8; SIZE],
    writable: [u8; SIZE],
    /// The device is asked at each read; the bits of `values` are or'ed in, those of `hidden` are cleared.
    live: [Option<Hidden>; SIZE],
    /// Reads and writes are the device's own, in the widths that the guest uses.
    forward: [bool; SIZE],
    /// Bits that reset the function when they are written with 1. They read as zero.
    reset: Vec<ResetBit>,
}

/// A bit that resets the function.
#[derive(Debug, Clone, Copy)]
struct ResetBit {
    at: u8,
    mask: u8,
}

/// Bits that a guest is not shown.
type Hidden = u8;

impl ConfigSpace {
    /// All zero, nothing writable.
    pub(crate) fn new() -> Self {
        Self {
            values: [0; SIZE],
            writable: [0; SIZE],
            live: [None; SIZE],
            forward: [false; SIZE],
            reset: Vec::new(),
        }
    }

    /// Gives bytes a constant value.
    pub(crate) fn put(&mut self, at: u8, bytes: &[u8]) {
        for (value, byte) in self.values.iter_mut().skip(at.into()).zip(bytes) {
            *value = *byte;
        }
    }

    /// Lets a guest set these bits; they are kept and read back, and that is all. After a reset they are clear.
    pub(crate) fn let_write(&mut self, at: u8, bits: &[u8]) {
        for (mask, byte) in self.writable.iter_mut().skip(at.into()).zip(bits) {
            *mask |= *byte;
        }
    }

    /// Lets bytes be read from the device each time, but for the bits of `hidden`.
    pub(crate) fn let_through(&mut self, at: u8, count: usize, hidden: u8) {
        self.live.iter_mut().skip(at.into()).take(count).for_each(|rule| *rule = Some(hidden));
    }

    /// Leaves bytes to the device: see [`forwarded`](Self::forwarded).
    pub(crate) fn let_forward(&mut self, at: u8, count: usize) {
        self.forward.iter_mut().skip(at.into()).take(count).for_each(|rule| *rule = true);
    }

    /// Lets a guest reset the function by writing 1 to these bits of a byte: see [`asks_for_reset`](Self::asks_for_reset).
    pub(crate) fn let_reset(&mut self, at: u8, mask: u8) {
        self.reset.push(ResetBit { at, mask });
    }

    /// Whether a write resets the function.
    pub(crate) fn asks_for_reset(&self, offset: u16, data: &[u8]) -> bool {
        self.reset.iter().any(|bit| {
            let byte = u16::from(bit.at).checked_sub(offset).and_then(|at| data.get(usize::from(at)));
            byte.is_some_and(|byte| byte & bit.mask != 0)
        })
    }

    /// The bytes that are kept here.
    pub(crate) fn values(&self) -> &[u8; SIZE] {
        &self.values
    }

    /// Sets what a guest can write to what it is in `values`. Answers with the first byte that differs in more than that;
    /// nothing is set then.
    pub(crate) fn restore(&mut self, values: &[u8]) -> Option<usize> {
        let Ok(values) = <[u8; SIZE]>::try_from(values) else { return Some(values.len().min(SIZE)) };
        let differs = |at: &usize| (self.values[*at] ^ values[*at]) & !self.writable[*at] != 0;
        let first = (0..SIZE).find(differs);
        if first.is_none() {
            self.values = values;
        }
        first
    }

    /// Clears what a guest has set.
    pub(crate) fn reset(&mut self) {
        self.values.iter_mut().zip(self.writable).for_each(|(value, writable)| *value &= !writable);
    }

    /// The parts of an access that are the device's to answer. [`read`](Self::read) has zeros there, and
    /// [`write`](Self::write) does nothing.
    pub(crate) fn forwarded(&self, offset: u16, len: usize) -> impl Iterator<Item = Range<usize>> {
        let rules = self.forward.get(usize::from(offset)..).unwrap_or_default();
        let rules = rules.get(..len.min(rules.len())).unwrap_or_default();
        let mut at = 0;
        rules.chunk_by(|one, next| one == next).filter_map(move |run| {
            let range = at..at + run.len();
            at = range.end;
            run.first().is_some_and(|forward| *forward).then_some(range)
        })
    }

    /// Reads; `device` reads a byte of the device's own config space.
    pub(crate) fn read(&self, offset: u16, data: &mut [u8], device: impl Fn(u16) -> u8) {
        for (index, byte) in (usize::from(offset)..).zip(data) {
            let value = self.values.get(index).copied().unwrap_or(0);
            let live = self.live.get(index).copied().flatten();
            *byte = match (live, u16::try_from(index)) {
                (Some(hidden), Ok(at)) => device(at) & !hidden | value,
                _ => value,
            };
        }
    }

    /// Writes, each byte by its own rule.
    pub(crate) fn write(&mut self, offset: u16, data: &[u8]) {
        for (index, new) in (usize::from(offset)..).zip(data) {
            if let (Some(value), Some(mask)) = (self.values.get_mut(index), self.writable.get(index)) {
                *value = *value & !mask | new & mask;
            }
        }
    }

    /// COMMAND as the guest has written it.
    pub(crate) fn command(&self) -> u16 {
        u16::from_le_bytes([self.values[usize::from(COMMAND)], self.values[usize::from(COMMAND) + 1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(space: &ConfigSpace, offset: u16) -> [u8; 4] {
        let mut data = [0; 4];
        space.read(offset, &mut data, |at| at.to_le_bytes()[0]);
        data
    }

    #[test]
    fn bytes_without_rule_read_zero_and_ignore_writes() {
        let mut space = ConfigSpace::new();
        space.write(0, &[0xff; 4]);
        space.write(0xfe, &[0xff; 4]);
        assert_eq!((read(&space, 0), read(&space, 0xfe)), ([0; 4], [0; 4]));
        space.write(u16::MAX, &[0xff; 4]);
        assert_eq!(read(&space, u16::MAX), [0; 4]);
    }

    #[test]
    fn what_a_guest_has_written_is_restored_and_nothing_else() {
        let mut space = ConfigSpace::new();
        space.put(0x40, &[0x11, 0, 0x0f, 0x07]);
        space.let_write(0x42, &[0, 0xc0]);
        let mut saved = *space.values();
        saved[0x43] = 0xc7;
        assert_eq!(space.restore(&saved), None);
        assert_eq!(read(&space, 0x40), [0x11, 0, 0x0f, 0xc7]);
        saved[0x40] = 5;
        saved[0x43] = 0x07;
        assert_eq!((space.restore(&saved), space.restore(&saved[1..])), (Some(0x40), Some(0xff)));
        assert_eq!(read(&space, 0x40), [0x11, 0, 0x0f, 0xc7]);
    }

    #[test]
    fn writes_are_decoded_by_byte() {
        let mut space = ConfigSpace::new();
        space.put(0x40, &[0x11, 0, 0x0f, 0x07]);
        space.let_write(0x42, &[0, 0xc0]);
        space.write(0x43, &[0xff]);
        assert_eq!(read(&space, 0x40), [0x11, 0, 0x0f, 0xc7]);
        space.write(0x40, &[0; 4]);
        assert_eq!(read(&space, 0x40), [0x11, 0, 0x0f, 0x07]);
    }

    #[test]
    fn what_is_forwarded_has_no_value_here() {
        let mut space = ConfigSpace::new();
        space.let_forward(0x52, 3);
        space.let_forward(0xff, 1);
        let parts = |at, len| space.forwarded(at, len).map(|part| (part.start, part.end)).collect::<Vec<_>>();
        assert_eq!((parts(0x50, 4), parts(0x50, 8)), (vec![(2, 4)], vec![(2, 5)]));
        assert_eq!((parts(0x54, 1), parts(0x55, 4), parts(0xfc, 8)), (vec![(0, 1)], vec![], vec![(3, 4)]));
        assert_eq!((parts(0x100, 4), parts(u16::MAX, 4)), (vec![], vec![]));
    }

    #[test]
    fn a_reset_is_asked_for_by_its_bit_and_clears_what_was_written() {
        let mut space = ConfigSpace::new();
        space.put(0x40, &[0x18, 0x81]);
        space.let_write(0x40, &[0x07, 0x70]);
        space.let_reset(0x49, 0x80);
        let asks = |at, data: &[u8]| space.asks_for_reset(at, data);
        assert!(asks(0x49, &[0x80]) && asks(0x48, &[0, 0xff]) && asks(0x40, &[0xff; 16]));
        assert!(
            !asks(0x49, &[0x7f]) && !asks(0x48, &[0xff]) && !asks(0x4a, &[0xff]) && !asks(0xfff, &[0xff])
        );
        space.write(0x40, &[0xff; 16]);
        assert_eq!(read(&space, 0x40), [0x1f, 0xf1, 0, 0]);
        assert_eq!(read(&space, 0x48), [0; 4]);
        space.reset();
        assert_eq!(read(&space, 0x40), [0x18, 0x81, 0, 0]);
    }

    #[test]
    fn the_device_is_asked_for_live_bytes_only() {
        let mut space = ConfigSpace::new();
        space.put(0x51, &[0x80]);
        space.let_through(0x50, 2, 0x01);
        assert_eq!(read(&space, 0x50), [0x50, 0xd0, 0, 0]);
    }
}
