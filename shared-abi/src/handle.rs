//! Handles: the guest's name for one IRTE.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Names one IRTE of this VM from MAP until UNMAP or the end of the epoch. Opaque to the guest; never 0.
///
/// The host builds it from a slot and a generation that changes each time the slot is used again, so that a handle
/// that was given back can never name its successor.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Handle(pub u64);

impl Handle {
    /// No handle: what a guest gives with MAP, and with a QUERY by entry.
    pub const NONE: Self = Self(0);

    /// From slot and generation.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The slot: bits 31:0.
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// The generation: bits 63:32, never 0 in a valid handle.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot(), self.generation())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({self})")
    }
}
