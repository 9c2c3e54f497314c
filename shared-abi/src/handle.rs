//! Handles: the guest's name for one IRTE.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The name of one IRTE of this VM, from MAP to UNMAP, DISABLE or the end of the epoch (`docs/abi.md`, "Handles").
///
/// A handle is never 0, and otherwise opaque to the guest. This host builds it from the number of a slot and from a
/// generation that changes each time the slot is used again, so that a handle that was given back never names a later
/// IRTE.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Handle(pub u64);

impl Handle {
    /// No handle: the value of the field in a MAP, and in a QUERY that names an entry and no handle.
    pub const NONE: Self = Self(0);

    /// The handle of a slot in its `generation`.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The number of the slot: bits 31:0.
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
