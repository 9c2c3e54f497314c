//! The identity map: 4 GiB from the start, the rest of RAM at boot, device memory above it on demand.
//!
//! Entries are only ever added, so no translation need be flushed. All pages are open to ring 3: the excursions
//! there are tests, not a protection.

#![expect(unsafe_code, reason = "walks and writes the page tables")]

use super::frames;
use crate::machine::cpu::cpuid::cpuid;
use spin::Mutex;

const PRESENT_WRITABLE_USER: u64 = 7;
const UNCACHED: u64 = 0x18;
const LARGE: u64 = 0x80;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const BOOT_MAP: u64 = 1 << 32;
/// The lower half of the 48-bit space.
const LIMIT: u64 = 1 << 47;
const MIB_2: u64 = 1 << 21;
const GIB: u64 = 1 << 30;

static TABLES: Mutex<()> = Mutex::new(());

/// How the processor may treat accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    WriteBack,
    Uncached,
}

/// Makes `length` bytes from `start` reachable at their physical address; `false` when there is no page for the
/// tables or the address is above 128 TiB.
pub(crate) fn map(start: u64, length: u64, caching: Caching) -> bool {
    let Some(end) = start.checked_add(length) else { return false };
    if end > LIMIT {
        return false;
    }
    let _tables = TABLES.lock();
    let large = gigabyte_pages();
    let step = if large { GIB } else { MIB_2 };
    let mut at = start.max(BOOT_MAP) & !(step - 1);
    while at < end {
        if map_one(at, large, caching).is_none() {
            return false;
        }
        at += step;
    }
    true
}

/// Whether all of the range is reachable.
pub(crate) fn is_mapped(start: u64, length: u64) -> bool {
    let Some(end) = start.checked_add(length) else { return false };
    if end <= BOOT_MAP {
        return true;
    }
    if end > LIMIT {
        return false;
    }
    let _tables = TABLES.lock();
    let mut at = start.max(BOOT_MAP) & !(MIB_2 - 1);
    while at < end {
        if !is_mapped_one(at) {
            return false;
        }
        at += MIB_2;
    }
    true
}

fn map_one(at: u64, large: bool, caching: Caching) -> Option<()> {
    let attributes = match caching {
        Caching::WriteBack => LARGE | PRESENT_WRITABLE_USER,
        Caching::Uncached => LARGE | PRESENT_WRITABLE_USER | UNCACHED,
    };
    let pdpt = descend(entry(root(), at, 39))?;
    let gigabyte = entry(pdpt, at, 30);
    if load(gigabyte) & LARGE != 0 {
        return Some(());
    }
    if large && load(gigabyte) == 0 {
        store(gigabyte, at | attributes);
        return Some(());
    }
    let directory = descend(gigabyte)?;
    let page = entry(directory, at, 21);
    if load(page) == 0 {
        store(page, at | attributes);
    }
    Some(())
}

fn is_mapped_one(at: u64) -> bool {
    let top = load(entry(root(), at, 39));
    if top == 0 {
        return false;
    }
    let gigabyte = load(entry(top & ADDRESS, at, 30));
    if gigabyte == 0 || gigabyte & LARGE != 0 {
        return gigabyte != 0;
    }
    load(entry(gigabyte & ADDRESS, at, 21)) != 0
}

/// The table below an entry, made if it is not there.
fn descend(entry: u64) -> Option<u64> {
    let value = load(entry);
    if value != 0 {
        return Some(value & ADDRESS);
    }
    let table = frames::allocate_zeroed(1)?.as_ptr() as u64;
    store(entry, table | PRESENT_WRITABLE_USER);
    Some(table)
}

/// Address of the entry for `at` in the table whose entries each span `1 << shift` bytes.
fn entry(table: u64, at: u64, shift: u32) -> u64 {
    table + ((at >> shift) & 511) * 8
}

fn load(entry: u64) -> u64 {
    // SAFETY: `entry` lies in a page table, all of which are in the boot map; the lock is held.
    unsafe { (entry as *const u64).read_volatile() }
}

fn store(entry: u64, value: u64) {
    // SAFETY: as for `load`; the callers only fill empty entries, so no mapping in use changes.
    unsafe { (entry as *mut u64).write_volatile(value) };
}

/// Physical address of the uppermost table.
pub(crate) fn root() -> u64 {
    unsafe extern "C" {
        static boot_pml4: u8;
    }
    (&raw const boot_pml4) as u64
}

fn gigabyte_pages() -> bool {
    cpuid(0x8000_0000, 0).eax >= 0x8000_0001 && cpuid(0x8000_0001, 0).edx & (1 << 26) != 0
}
