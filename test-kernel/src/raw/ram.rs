//! Where guest RAM ends, as the host sees it: found by asking.

use super::Raw;
use pvir_guest::abi::{GuestPhysAddr, Status};

/// The page before the first address, from the block upwards, that the host does not take for RAM.
pub(crate) fn last_page(raw: &Raw) -> Option<GuestPhysAddr> {
    let is_ram = |page: &u64| raw.call_at(GuestPhysAddr(page << 12)) != Status::BAD_ADDRESS;
    let mut low = raw.spare().0 >> 12;
    let mut high = 0xc000_0000_u64 >> 12;
    if !is_ram(&low) || is_ram(&high) {
        return None;
    }
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if is_ram(&middle) { low = middle } else { high = middle }
    }
    Some(GuestPhysAddr(low << 12))
}
