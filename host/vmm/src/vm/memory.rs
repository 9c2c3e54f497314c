//! Guest RAM: its regions, and the map of it that the guest is given.

use anyhow::{Context, Result, bail};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::address_bits::AddressBits;
use super::layout;
use crate::memory_size::MemorySize;

/// A range of guest physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GuestRange {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl GuestRange {
    pub(crate) fn new(start: u64, size: u64) -> Self {
        Self { start, size }
    }

    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// Splits `size` bytes of RAM around the hole below 4 GiB.
///
/// # Errors
/// RAM would go on behind the last address that the CPU has.
pub(crate) fn ram_ranges(size: MemorySize, bits: AddressBits) -> Result<Vec<GuestRange>> {
    let low = size.bytes().min(layout::HOLE_START);
    let high = size.bytes() - low;
    let most = low + bits.limit().saturating_sub(layout::FOUR_GIB);
    if size.bytes() > most {
        bail!(
            "--memory {size}: this CPU has {bits} physical address bits, which reach {} GiB of RAM at most",
            most >> 30
        );
    }
    let mut ranges = vec![GuestRange::new(0, low)];
    if high > 0 {
        ranges.push(GuestRange::new(layout::FOUR_GIB, high));
    }
    Ok(ranges)
}

/// The ranges of RAM that the guest may use (PVH memory map, type 1); the rest below 1 MiB is reserved.
pub(crate) fn usable_ranges(ram: &[GuestRange]) -> Vec<GuestRange> {
    let mut usable = vec![GuestRange::new(0, layout::LOW_RAM_END)];
    for range in ram {
        let start = range.start.max(layout::HIGH_RAM);
        usable.push(GuestRange::new(start, range.end().saturating_sub(start)));
    }
    usable
}

/// Allocates the RAM, untouched: the host backs a page when the guest first writes it.
pub(crate) fn allocate(ranges: &[GuestRange]) -> Result<GuestMemoryMmap> {
    let mut regions = Vec::with_capacity(ranges.len());
    for range in ranges {
        let size =
            usize::try_from(range.size).context("--memory is larger than this host's address space")?;
        regions.push((GuestAddress(range.start), size));
    }
    let total: u64 = ranges.iter().map(|range| range.size).sum();
    GuestMemoryMmap::from_ranges(&regions).with_context(|| {
        format!("cannot allocate {} MiB of guest memory\nhelp: use a smaller --memory", total >> 20)
    })
}

/// The ranges of guest memory that is allocated.
pub(crate) fn ranges_of(memory: &GuestMemoryMmap) -> Vec<GuestRange> {
    memory.iter().map(|region| GuestRange::new(region.start_addr().0, region.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(size: &str) -> Vec<GuestRange> {
        ram_ranges(size.parse().unwrap(), AddressBits::new(40)).unwrap()
    }

    #[test]
    fn small_memory_is_one_region() {
        assert_eq!(ranges("256M"), [GuestRange::new(0, 256 << 20)]);
    }

    #[test]
    fn large_memory_goes_on_above_four_gib() {
        assert_eq!(ranges("5G"), [GuestRange::new(0, 3 << 30), GuestRange::new(4 << 30, 2 << 30)]);
    }

    #[test]
    fn memory_ends_with_the_last_address() {
        let of = |size: &str, bits| ram_ranges(size.parse().unwrap(), AddressBits::new(bits));
        assert_eq!(of("63G", 36).unwrap()[1].end(), 1 << 36);
        let error = of("64G", 36).unwrap_err().to_string();
        assert_eq!(
            error,
            "--memory 64 GiB: this CPU has 36 physical address bits, which reach 63 GiB of RAM at most"
        );
        assert!(of("4G", 32).is_err() && of("3G", 32).is_ok());
    }

    #[test]
    fn usable_memory_leaves_out_what_is_reserved_below_one_mib() {
        let usable = usable_ranges(&ranges("5G"));
        assert_eq!(
            usable,
            [
                GuestRange::new(0, 0x9_fc00),
                GuestRange::new(1 << 20, (3 << 30) - (1 << 20)),
                GuestRange::new(4 << 30, 2 << 30)
            ]
        );
    }

    #[test]
    fn neighbours_do_not_overlap() {
        assert!(!GuestRange::new(0, 10).overlaps(&GuestRange::new(10, 1)));
        assert!(GuestRange::new(0, 11).overlaps(&GuestRange::new(10, 1)));
    }
}
