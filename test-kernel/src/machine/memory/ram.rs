//! Where this machine has RAM, as the boot information said.

use crate::machine::boot::start_info::Region;
use arrayvec::ArrayVec;
use spin::Once;

const MAX_REGIONS: usize = 32;
/// What firmware and legacy devices have below the first MiB, and the local APICs: no PCI device's memory.
const OTHERS: [Region; 2] =
    [Region { start: 0, end: 0x10_0000 }, Region { start: 0xfee0_0000, end: 0xfee0_1000 }];

static RAM: Once<ArrayVec<Region, MAX_REGIONS>> = Once::new();

/// Notes the ranges of RAM.
pub(super) fn init(regions: &[Region]) {
    RAM.call_once(|| regions.iter().take(MAX_REGIONS).copied().collect());
}

/// Whether any of `length` bytes at `start` cannot be a PCI device's memory. Before [`init`] none can.
pub(crate) fn overlaps(start: u64, length: u64) -> bool {
    let Some(end) = start.checked_add(length) else { return true };
    let meets = |region: &Region| start < region.end && region.start < end;
    RAM.get().is_none_or(|ram| ram.iter().any(meets)) || OTHERS.iter().any(meets)
}
