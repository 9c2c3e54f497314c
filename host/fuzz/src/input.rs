//! The bytes of an input, taken one after the other. Beyond their end there are zeros.

/// What is left of an input.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// A number of 32 bits: mostly small, now and then any.
    pub(crate) fn number(&mut self) -> u32 {
        match self.byte() {
            0xff => u32::from_le_bytes(self.bytes()),
            0xfe => u32::MAX - u32::from(self.byte()),
            0xfd => 1 << (self.byte() % 32),
            small => small.into(),
        }
    }

    /// What is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Changes what another has written: as many places as the rest of the input has for it.
pub(crate) fn edit(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    while !input.is_empty() && bytes.len() < 1 << 16 {
        let [what, low, high, byte] = input.bytes();
        let at = usize::from(u16::from_le_bytes([low, high])) % (bytes.len() + 1);
        match what % 4 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => bytes[at] ^= byte,
            2 if at < bytes.len() => _ = bytes.remove(at),
            _ => bytes.insert(at, byte),
        }
    }
}
