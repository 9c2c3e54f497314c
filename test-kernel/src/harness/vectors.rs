//! Which vector on which processor each entry gets.

use crate::machine::cpu;
use pvir_guest::Target;

/// The first vector for devices here: clear of what the kernel uses for itself.
const FIRST: u8 = 0x30;
const LAST: u8 = 0xfe;

/// Gives each entry of each stage a vector that nobody else has, so that a count says where it came from.
pub(crate) struct Vectors {
    next: u8,
}

impl Vectors {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The first of `count` consecutive vectors.
    pub(crate) fn take(&mut self, count: usize) -> Option<u8> {
        let first = self.next;
        let next = u8::try_from(count).ok().and_then(|count| first.checked_add(count))?;
        (next <= LAST).then(|| {
            self.next = next;
            first
        })
    }

    /// The first of `count` consecutive vectors, a multiple of `count`, which is a power of two.
    pub(crate) fn take_aligned(&mut self, count: u8) -> Option<u8> {
        self.next = self.next.checked_next_multiple_of(count)?;
        self.take(count.into())
    }
}

/// Where one entry's interrupts go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination {
    pub(crate) cpu: usize,
    pub(crate) apic_id: u32,
    pub(crate) vector: u8,
}

impl Destination {
    /// `vector` on the processor of this number, counted round.
    pub(crate) fn on(number: usize, vector: u8) -> Option<Self> {
        let cpu = cpu::by_index(number % cpu::count().max(1))?;
        Some(Self { cpu: cpu.index, apic_id: cpu.apic_id, vector })
    }

    pub(crate) const fn target(self) -> Target {
        Target::fixed(self.apic_id, self.vector)
    }
}
