//! Mapping the MSI-X table and its pending bits.
#![expect(unsafe_code, reason = "maps and unmaps device memory")]

use super::memory::{ENTRY_LEN, Memory};
use crate::claims::MAX_ENTRIES;
use crate::pci::Function;
use crate::{PciError, Platform};
use core::ptr::NonNull;

/// Maps the table of `entries` entries and its pending bits, to which the MSI-X capability at offset `capability`
/// points.
pub(super) fn map<P: Platform>(
    function: &Function<P>,
    capability: u16,
    entries: u32,
) -> Result<Memory, PciError> {
    let (table_len, pending_len) = lengths(entries);
    let table = map_part(function, capability.saturating_add(4), table_len)?;
    let pending = match map_part(function, capability.saturating_add(8), pending_len) {
        Ok(pending) => pending,
        Err(error) => {
            // SAFETY: mapped a moment ago with this length, and used by nobody.
            unsafe { function.platform().unmap_mmio(table, table_len) };
            return Err(error);
        }
    };
    // SAFETY: the platform promises that both pointers are valid for the lengths that were asked for, which are
    // those of `entries` entries and bits, until `unmap`.
    Ok(unsafe { Memory::new(table, pending, entries) })
}

/// Takes back what [`map`] has mapped.
///
/// # Safety
///
/// It is called once for the `memory`, which nobody uses any more, with a function of the same platform.
pub(super) unsafe fn unmap<P: Platform>(function: &Function<P>, memory: &Memory) {
    let (table, pending) = memory.pointers();
    let (table_len, pending_len) = lengths(memory.entries());
    // SAFETY: mapped by `map` with this length; the caller promises the rest.
    unsafe { function.platform().unmap_mmio(table, table_len) };
    // SAFETY: as above.
    unsafe { function.platform().unmap_mmio(pending, pending_len) };
}

/// Bytes of the table and of the pending bits, which come in words of 64.
fn lengths(entries: u32) -> (usize, usize) {
    let entries = entries.min(MAX_ENTRIES) as usize;
    (entries.saturating_mul(ENTRY_LEN), entries.div_ceil(64).saturating_mul(8))
}

/// Maps what the dword at `register` points to: BAR in bits 2:0, offset in the others.
fn map_part<P: Platform>(
    function: &Function<P>,
    register: u16,
    len: usize,
) -> Result<NonNull<u32>, PciError> {
    let pointer = function.read(register);
    let [low, ..] = pointer.to_le_bytes();
    function.map_bar(low & 7, pointer & !7, len)
}
