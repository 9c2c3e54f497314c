//! The windows from which BARs get their first addresses.

use std::ops::Range;

use anyhow::{Context, Result, anyhow};
use pvir_host::pci::{BarKind, BarSpec};
use vm_allocator::{AddressAllocator, AllocPolicy, RangeInclusive};

use crate::vm::address_bits::AddressBits;
use crate::vm::layout;
use crate::vm::memory::GuestRange;

/// 64-bit BARs up to this size are put below 4 GiB, where the smallest of kernels reaches them.
const LARGE_BAR: u64 = 128 << 20;
const GIB: u64 = 1 << 30;
/// What a guest is shown of the window above RAM, at the least: it may want to move BARs.
const ROOM: u64 = 64 * GIB;

/// Windows for ports, for memory below 4 GiB, and for memory above RAM.
pub(crate) struct Windows {
    ports: AddressAllocator,
    low: AddressAllocator,
    high: HighWindow,
}

/// The window above RAM: up to the last address that the CPU has.
struct HighWindow {
    start: u64,
    bits: AddressBits,
    /// Nothing where RAM ends with the last address.
    allocator: Option<AddressAllocator>,
    /// The end of the highest BAR.
    used: u64,
}

impl Windows {
    /// The windows of a machine with this RAM, whose CPUs have so many address bits.
    pub(crate) fn new(ram: &[GuestRange], bits: AddressBits) -> Result<Self> {
        let allocator = |range: &Range<u64>| {
            AddressAllocator::new(range.start, range.end - range.start)
                .context("cannot set up a window for BARs")
        };
        let start = layout::above_ram(ram);
        let high = if start < bits.limit() { Some(allocator(&(start..bits.limit()))?) } else { None };
        Ok(Self {
            ports: allocator(&layout::PORTS)?,
            low: allocator(&layout::MMIO32)?,
            high: HighWindow { start, bits, allocator: high, used: start },
        })
    }

    /// An address for a BAR.
    ///
    /// # Errors
    /// The window for it is full, and what the largest BAR is for which there is room.
    pub(crate) fn allocate(&mut self, spec: BarSpec) -> Result<u64> {
        let room = spec.alignment();
        let found = match spec.kind() {
            BarKind::Io => take(&mut self.ports, room),
            BarKind::Memory64 if room > LARGE_BAR => {
                self.high.take(room).or_else(|| take(&mut self.low, room))
            }
            BarKind::Memory64 => take(&mut self.low, room).or_else(|| self.high.take(room)),
            _ => take(&mut self.low, room),
        };
        found.ok_or_else(|| self.full(spec))
    }

    /// Takes this address for a BAR, if it is free and one that [`allocate`](Self::allocate) could have answered with.
    pub(crate) fn take_at(&mut self, spec: BarSpec, address: u64) -> bool {
        let (size, is_high) = (spec.alignment(), address >= self.high.start);
        let window = match spec.kind() {
            BarKind::Io => Some(&mut self.ports),
            BarKind::Memory64 if is_high => self.high.allocator.as_mut(),
            _ => Some(&mut self.low),
        };
        let taken = window.is_some_and(|window| {
            // It looks at the alignment of addresses only where it chooses one.
            address % size == 0 && window.allocate(size, size, AllocPolicy::ExactMatch(address)).is_ok()
        });
        if taken && spec.kind() == BarKind::Memory64 && is_high {
            self.high.used = self.high.used.max(address + size);
        }
        taken
    }

    /// Gives an address of [`allocate`](Self::allocate) back.
    pub(crate) fn free(&mut self, spec: BarSpec, address: u64) {
        let high = self.high.allocator.as_mut().filter(|_| address >= self.high.start);
        let window = match spec.kind() {
            BarKind::Io => &mut self.ports,
            _ => high.unwrap_or(&mut self.low),
        };
        let range = RangeInclusive::new(address, address + spec.alignment() - 1);
        if let Err(error) = range.and_then(|range| window.free(&range)) {
            tracing::debug!(
                address = format_args!("{address:#x}"),
                "the address of a BAR stays taken: {error}"
            );
        }
    }

    /// The part of the window above RAM that the guest is told of; `None` if there is none.
    pub(crate) fn high(&self) -> Option<GuestRange> {
        let HighWindow { start, bits, used, .. } = &self.high;
        let room = (used - start).next_multiple_of(GIB).saturating_mul(2).max(ROOM);
        let size = room.min(bits.limit().saturating_sub(*start));
        (size > 0).then_some(GuestRange::new(*start, size))
    }

    fn full(&mut self, spec: BarSpec) -> anyhow::Error {
        match spec.kind() {
            BarKind::Io => anyhow!("the window for ports is full"),
            BarKind::Memory64 => {
                let most = self.high.largest().max(largest(&mut self.low, LARGE_BAR)).unwrap_or(0);
                anyhow!(
                    "the CPU has {} physical address bits, and there is room for {most:#x} bytes at most\nhelp: a host whose CPU has more of them has the room",
                    self.high.bits
                )
            }
            _ => {
                let most = largest(&mut self.low, 1 << 31).unwrap_or(0);
                anyhow!("the window below 4 GiB has room for {most:#x} bytes at most")
            }
        }
    }
}

impl HighWindow {
    fn take(&mut self, size: u64) -> Option<u64> {
        let address = take(self.allocator.as_mut()?, size)?;
        self.used = self.used.max(address + size);
        Some(address)
    }

    fn largest(&mut self) -> Option<u64> {
        largest(self.allocator.as_mut()?, self.bits.limit() / 2)
    }
}

/// BARs are aligned to their size.
fn take(window: &mut AddressAllocator, size: u64) -> Option<u64> {
    window.allocate(size, size, AllocPolicy::FirstMatch).ok().map(|range| range.start())
}

/// The largest BAR for which a window has room, up to `limit`.
fn largest(window: &mut AddressAllocator, limit: u64) -> Option<u64> {
    let sizes = (12..=limit.checked_ilog2()?).rev().map(|bit| 1 << bit);
    for size in sizes {
        if let Ok(range) = window.allocate(size, size, AllocPolicy::FirstMatch) {
            // Taken to see that it can be had.
            let _ = window.free(&range);
            return Some(size);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(ram: u64, bits: u8) -> Windows {
        Windows::new(&[GuestRange::new(0, ram)], AddressBits::new(bits)).unwrap()
    }

    #[test]
    fn a_bar_of_64_gib_has_room_where_the_address_bits_allow_it() {
        let mut windows = windows(256 << 20, 40);
        assert_eq!(windows.allocate(BarSpec::memory64(64 * GIB)).unwrap(), 64 * GIB);
        assert_eq!(windows.allocate(BarSpec::memory64(256 * GIB)).unwrap(), 256 * GIB);
        let shown = windows.high().unwrap();
        assert_eq!((shown.start, shown.end()), (4 * GIB, 1020 * GIB), "twice what is used");
    }

    #[test]
    fn what_is_given_back_is_given_again() {
        let mut windows = windows(256 << 20, 40);
        for spec in
            [BarSpec::memory64(64 * GIB), BarSpec::memory64(0x1000), BarSpec::memory32(16), BarSpec::io(8)]
        {
            let first = windows.allocate(spec).unwrap();
            let second = windows.allocate(spec).unwrap();
            windows.free(spec, first);
            assert_eq!(windows.allocate(spec).unwrap(), first);
            windows.free(spec, first);
            windows.free(spec, second);
        }
    }

    #[test]
    fn an_address_is_taken_again_where_a_bar_can_have_it() {
        for (spec, other) in [
            (BarSpec::memory64(64 * GIB), BarSpec::memory32(0x1000)),
            (BarSpec::memory64(0x1000), BarSpec::io(8)),
            (BarSpec::io(8), BarSpec::memory64(0x1000)),
        ] {
            let mut first = windows(256 << 20, 40);
            first.allocate(spec).unwrap();
            let address = first.allocate(spec).unwrap();
            let mut again = windows(256 << 20, 40);
            assert!(!again.take_at(spec, address + 4), "not aligned");
            assert!(!again.take_at(other, address), "another window's");
            assert!(!again.take_at(spec, 0) && !again.take_at(spec, 1 << 40), "no window's");
            assert!(again.take_at(spec, address));
            assert!(!again.take_at(spec, address), "taken");
            assert_eq!(again.allocate(spec).unwrap(), first.allocate(spec).unwrap() - 2 * spec.size());
            assert_eq!(again.allocate(spec).unwrap(), address + spec.size());
            assert!(again.high().unwrap().size >= first.high().unwrap().size);
        }
    }

    #[test]
    fn a_bar_that_is_too_large_is_told_what_there_is_room_for() {
        let mut windows = windows(256 << 20, 36);
        let error = windows.allocate(BarSpec::memory64(64 * GIB)).unwrap_err().to_string();
        assert!(error.contains("36 physical address bits"), "{error}");
        assert!(error.contains("room for 0x800000000 bytes"), "{error}");
        assert_eq!(windows.allocate(BarSpec::memory64(32 * GIB)).unwrap(), 32 * GIB);
        let error = windows.allocate(BarSpec::memory64(32 * GIB)).unwrap_err().to_string();
        assert!(error.contains("room for 0x400000000 bytes"), "{error}");
    }

    #[test]
    fn small_bars_are_below_4_gib() {
        let mut windows = windows(256 << 20, 40);
        assert_eq!(windows.allocate(BarSpec::memory64(0x1000)).unwrap(), layout::MMIO32.start);
        assert_eq!(windows.allocate(BarSpec::memory32(16)).unwrap(), layout::MMIO32.start + 0x1000);
        assert_eq!(windows.allocate(BarSpec::io(8)).unwrap(), layout::PORTS.start);
        let shown = windows.high().unwrap();
        assert_eq!((shown.start, shown.size), (4 * GIB, ROOM));
        let error = windows.allocate(BarSpec::memory32(1 << 31)).unwrap_err().to_string();
        assert!(error.contains("room for 0x10000000 bytes"), "{error}");
    }

    #[test]
    fn ram_up_to_the_last_address_leaves_no_window_above_it() {
        let ram = [GuestRange::new(0, layout::HOLE_START), GuestRange::new(4 * GIB, 60 * GIB)];
        let mut windows = Windows::new(&ram, AddressBits::new(36)).unwrap();
        assert!(windows.high().is_none());
        assert_eq!(windows.allocate(BarSpec::memory64(256 << 20)).unwrap(), layout::MMIO32.start);
        let error = windows.allocate(BarSpec::memory64(64 * GIB)).unwrap_err().to_string();
        assert!(error.contains("36 physical address bits"), "{error}");
    }
}
