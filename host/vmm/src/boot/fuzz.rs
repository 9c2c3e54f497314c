//! The kernel file, of any bytes.

use anyhow::{Context, Result, ensure};

use super::elf::{RESERVED, parse};
use crate::vm::layout;
use crate::vm::memory::GuestRange;

const MIB: u64 = 1 << 20;

/// A kernel that is accepted is loaded inside of RAM, and over nothing that the VMM writes there.
///
/// # Errors
/// What of it would be loaded elsewhere.
pub fn elf(file: &[u8]) -> Result<()> {
    let ram = [GuestRange::new(0, 16 * MIB), GuestRange::new(layout::FOUR_GIB, 16 * MIB)];
    let Ok(kernel) = parse(file, &ram) else { return Ok(()) };
    let inside = |at: u64, end: Option<u64>| {
        ram.iter().any(|range| range.start <= at && end.is_some_and(|end| end <= range.end()))
    };
    ensure!(
        inside(kernel.entry, kernel.entry.checked_add(1)),
        "the entry {:#x} is outside of RAM",
        kernel.entry
    );
    // In memory a segment may be longer than in the file.
    let last = kernel.end.checked_sub(1).context("the kernel ends at 0")?;
    ensure!(inside(last, Some(kernel.end)), "the end {:#x} is outside of RAM", kernel.end);
    for (address, content) in kernel.segments {
        let length = content.len() as u64;
        let range = GuestRange::new(address, length);
        ensure!(inside(address, address.checked_add(length)), "{range:x?} is outside of RAM");
        ensure!(range.end() <= kernel.end, "{range:x?} is behind the end, {:#x}", kernel.end);
        let over = RESERVED.iter().find(|taken| length > 0 && taken.overlaps(&range));
        ensure!(over.is_none(), "{range:x?} is over {over:x?}");
    }
    Ok(())
}
