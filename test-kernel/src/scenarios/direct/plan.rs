//! Which vector on which processor each entry gets.

use super::MAX_ENTRIES;
use crate::cpu;
use arrayvec::ArrayVec;
use pvir_guest::Target;

/// The first vector for devices here: clear of what the kernel uses for itself.
const FIRST: u8 = 0x30;
const LAST: u8 = 0xfe;

/// Gives each entry of each stage a vector that nobody else has, so that a count says where it came from.
pub(super) struct Vectors {
    next: u8,
}

impl Vectors {
    pub(super) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The first of `count` consecutive vectors.
    pub(super) fn take(&mut self, count: usize) -> Option<u8> {
        let first = self.next;
        let next = u8::try_from(count).ok().and_then(|count| first.checked_add(count))?;
        (next <= LAST).then(|| {
            self.next = next;
            first
        })
    }
}

/// Where one entry's interrupts go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) cpu: usize,
    pub(super) apic_id: u32,
    pub(super) vector: u8,
}

impl Place {
    pub(super) const fn target(self) -> Target {
        Target::fixed(self.apic_id, self.vector)
    }
}

/// Entry `i` goes to processor `i + shift`, in turn, with vector `first + i`.
pub(super) fn spread(count: usize, first: u8, shift: usize) -> ArrayVec<Place, MAX_ENTRIES> {
    let place = |(entry, vector): (usize, u8)| {
        let cpu = cpu::by_index((entry + shift) % cpu::count().max(1))?;
        Some(Place { cpu: cpu.index, apic_id: cpu.apic_id, vector })
    };
    (0..count.min(MAX_ENTRIES)).zip(first..=LAST).filter_map(place).collect()
}
