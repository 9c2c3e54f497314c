//! Guest memory: one identity map for everything, a page allocator that never frees, and device registers.

pub(crate) mod dma;
pub(crate) mod frames;
mod mem_functions;
pub(crate) mod page_vec;
pub(crate) mod paging;
pub(crate) mod physical;
pub(crate) mod ram;
pub(crate) mod registers;

use crate::machine::boot::BootInfo;
use paging::Caching;

/// Maps all RAM and gives the part above the kernel to the page allocator.
pub(crate) fn init(boot: &BootInfo) {
    ram::init(boot.ram());
    for region in boot.ram() {
        frames::add(*region);
    }
    for region in boot.ram() {
        if !paging::map(region.start, region.end - region.start, Caching::WriteBack) {
            log::warn!("memory: RAM {:#x}..{:#x} cannot be mapped", region.start, region.end);
        }
    }
}
