//! What a base address register is: its kind and its size ("PCI Local Bus Specification, Revision 3.0", section 6.2.5.1).

/// Where a BAR decodes, and how wide its address is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory, with an address of 32 bits.
    Memory32,
    /// Memory, with an address of 64 bits. It takes the next register too.
    Memory64,
}

/// The kind and the size of a BAR.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BarSpec {
    kind: BarKind,
    size: u64,
    prefetchable: bool,
}

/// Why a function cannot have these BARs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarError {
    /// BARs are numbered from 0 to 5, and each is given once.
    #[error("BAR{bar} does not exist or is given twice")]
    Number {
        /// Number of the BAR.
        bar: u8,
    },
    /// The size is no power of two, too small, or larger than the address.
    #[error("BAR{bar} has the size {size:#x}, which no BAR of its kind can have")]
    Size {
        /// Number of the BAR.
        bar: u8,
        /// Its size in bytes.
        size: u64,
    },
    /// A BAR of 64 bits takes the next register too.
    #[error("BAR{bar} has 64 bits, but its upper half is another BAR or does not exist")]
    UpperHalf {
        /// Number of the BAR.
        bar: u8,
    },
}

impl BarSpec {
    /// Pages of their own, so that parts of a BAR can be mapped.
    const PAGE: u64 = 4096;

    /// `size` ports: a power of two, 4 at least.
    #[must_use]
    pub const fn io(size: u64) -> Self {
        Self { kind: BarKind::Io, size, prefetchable: false }
    }

    /// `size` bytes of memory below 4 GiB: a power of two, 16 at least.
    #[must_use]
    pub const fn memory32(size: u64) -> Self {
        Self { kind: BarKind::Memory32, size, prefetchable: false }
    }

    /// `size` bytes of memory anywhere: a power of two, 16 at least.
    #[must_use]
    pub const fn memory64(size: u64) -> Self {
        Self { kind: BarKind::Memory64, size, prefetchable: false }
    }

    /// The same, with the bit that says whether reads have no effect.
    #[must_use]
    pub const fn with_prefetchable(self, prefetchable: bool) -> Self {
        Self { prefetchable, ..self }
    }

    /// The BAR of a device, by the value of its (first) register and its size in bytes; `None` for a BAR of ports, and
    /// for one of size 0, which does not exist.
    pub(crate) fn of_memory(register: u32, size: u64) -> Option<Self> {
        if register & 1 != 0 || size == 0 {
            return None;
        }
        let kind = if register >> 1 & 3 == 2 { BarKind::Memory64 } else { BarKind::Memory32 };
        // The smallest that a memory BAR can be; what is behind its end reads as ones.
        Some(Self { kind, size: size.max(16), prefetchable: register & 8 != 0 })
    }

    /// Where the BAR decodes, and how wide its address is.
    #[must_use]
    pub const fn kind(self) -> BarKind {
        self.kind
    }

    /// Its size: bytes, or ports.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.size
    }

    /// Whether the BAR says that reads have no effect.
    #[must_use]
    pub const fn is_prefetchable(self) -> bool {
        self.prefetchable
    }

    /// The alignment and the room that a VMM should give the BAR, in bytes (or ports): its size, and for memory a page
    /// at least, so that parts of it can be mapped.
    #[must_use]
    pub fn alignment(self) -> u64 {
        if self.kind == BarKind::Io { self.size } else { self.size.max(Self::PAGE) }
    }

    /// The read-only low bits of the register.
    pub(super) fn flags(self) -> u32 {
        let prefetchable = if self.prefetchable { 8 } else { 0 };
        match self.kind {
            BarKind::Io => 1,
            BarKind::Memory32 => prefetchable,
            BarKind::Memory64 => 4 | prefetchable,
        }
    }

    /// The bits of the register that are not address.
    pub(super) fn low_bits(self) -> u32 {
        if self.kind == BarKind::Io { 3 } else { 15 }
    }

    /// The bits of the address that can be set; all of them for a size that [`Self::has_possible_size`] refuses.
    pub(crate) fn mask(self) -> u64 {
        !self.size.saturating_sub(1)
    }

    pub(super) fn has_possible_size(self) -> bool {
        let sizes = match self.kind {
            BarKind::Io => 4..=1 << 16,
            BarKind::Memory32 => 16..=1 << 31,
            BarKind::Memory64 => 16..=1 << 63,
        };
        self.size.is_power_of_two() && sizes.contains(&self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_of_the_physical_bars() {
        assert_eq!(BarSpec::of_memory(0xfeb0_0000, 0x1000), Some(BarSpec::memory32(0x1000)));
        assert_eq!(
            BarSpec::of_memory(0xfeb0_000c, 0x1000),
            Some(BarSpec::memory64(0x1000).with_prefetchable(true))
        );
        assert_eq!(BarSpec::of_memory(0xfeb0_0008, 4), Some(BarSpec::memory32(16).with_prefetchable(true)));
        assert_eq!(BarSpec::of_memory(0xc001, 32), None);
        assert_eq!(BarSpec::of_memory(0, 0), None);
    }

    #[test]
    fn memory_is_aligned_to_pages_and_ports_to_their_number() {
        assert_eq!(BarSpec::memory32(16).alignment(), 4096);
        assert_eq!(BarSpec::memory64(1 << 36).alignment(), 1 << 36);
        assert_eq!(BarSpec::io(32).alignment(), 32);
    }
}
