//! Numbers that look like chance and follow from a seed.

/// A generator: xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The generator of this number with a seed.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mixed =
            (seed ^ number << 56).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self(mixed | 1)
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below the end, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        (self.word() >> 16) % end.max(1)
    }

    pub(super) fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.word().to_be_bytes()[0]
    }

    pub(super) fn half(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.word().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// One of these; the default of none.
    pub(super) fn one_of<T: Copy + Default>(&mut self, choice: &[T]) -> T {
        let at = usize::try_from(self.below(choice.len() as u64)).unwrap_or(0);
        choice.get(at).copied().unwrap_or_default()
    }
}
