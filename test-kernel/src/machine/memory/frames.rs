//! Page allocator: takes from the RAM above the kernel and below 4 GiB, upwards, and never gives back.

#![expect(unsafe_code, reason = "hands out physical memory as pointers")]

use crate::machine::boot::start_info::Region;
use core::ptr::NonNull;
use spin::Mutex;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
const MAX_REGIONS: usize = 8;

struct Free {
    regions: [Region; MAX_REGIONS],
    count: usize,
}

static FREE: Mutex<Free> = Mutex::new(Free { regions: [Region { start: 0, end: 0 }; MAX_REGIONS], count: 0 });

/// Adds the part of `region` that is above the kernel and in the boot map.
pub(crate) fn add(region: Region) {
    let start = region.start.max(kernel_end()).next_multiple_of(PAGE);
    let end = region.end.min(1 << 32) & !(PAGE - 1);
    let mut free = FREE.lock();
    let slot = free.count;
    if start < end && slot < MAX_REGIONS {
        free.regions[slot] = Region { start, end };
        free.count += 1;
    }
}

/// `pages` consecutive pages with whatever is in them, starting at a multiple of `align` (a power of two, in
/// bytes). The guest-physical address is the pointer's address.
pub(crate) fn allocate_aligned(pages: u64, align: u64) -> Option<NonNull<u8>> {
    let mut free = FREE.lock();
    let count = free.count;
    for region in &mut free.regions[..count] {
        let start = region.start.next_multiple_of(align.max(PAGE));
        let end = start.checked_add(pages.checked_mul(PAGE)?)?;
        if end <= region.end {
            region.start = end;
            return NonNull::new(start as *mut u8);
        }
    }
    None
}

/// `pages` consecutive pages with whatever is in them.
pub(crate) fn allocate(pages: u64) -> Option<NonNull<u8>> {
    allocate_aligned(pages, PAGE)
}

/// `pages` consecutive pages of zeros.
pub(crate) fn allocate_zeroed(pages: u64) -> Option<NonNull<u8>> {
    let start = allocate(pages)?;
    let length = usize::try_from(pages * PAGE).ok()?;
    // SAFETY: the allocator has just taken these bytes out of the free RAM for this caller alone.
    unsafe { start.write_bytes(0, length) };
    Some(start)
}

/// Whether the page at `address` is one that the allocator could still give out.
pub(crate) fn is_free(address: u64) -> bool {
    let free = FREE.lock();
    free.regions[..free.count].iter().any(|region| (region.start..region.end).contains(&address))
}

/// The first address behind the kernel.
pub(crate) fn kernel_end() -> u64 {
    unsafe extern "C" {
        static kernel_end: u8;
    }
    (&raw const kernel_end) as u64
}
