//! pvir's console of lines (`docs/console.md`): text is put into a page, and goes out with one port write. A serial port
//! under a VMM takes an exit for each byte.

#![expect(unsafe_code, reason = "port input and output")]

use crate::machine::cpu::usermode;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use x86_64::instructions::port::Port;

const PAGE_PORT: u16 = 0x505c;
const LENGTH_PORT: u16 = 0x5060;
const SIGNATURE: u32 = u32::from_le_bytes(*b"PVCN");
const PAGE_SIZE: u32 = 4096;
const PAGE_SHIFT: u32 = 12;

#[repr(C, align(4096))]
struct Page([AtomicU8; PAGE_SIZE as usize]);

static PAGE: Page = Page([const { AtomicU8::new(0) }; PAGE_SIZE as usize]);
/// Bytes of the page that have not gone out yet.
static FILLED: AtomicU32 = AtomicU32::new(0);
static PRESENT: AtomicBool = AtomicBool::new(false);

/// Looks for the console and gives it the page.
pub(super) fn init() {
    if read(PAGE_PORT) != SIGNATURE {
        return;
    }
    // The kernel is mapped at its physical addresses.
    let address = PAGE.0.as_ptr() as u64;
    if let Ok(number) = u32::try_from(address >> PAGE_SHIFT) {
        write(PAGE_PORT, number);
        PRESENT.store(read(LENGTH_PORT) >= PAGE_SIZE, Relaxed);
    }
}

/// Whether there is such a console.
pub(super) fn are_there() -> bool {
    PRESENT.load(Relaxed)
}

/// Adds a byte to the text that goes out next. The caller has the console.
pub(super) fn push(byte: u8) {
    if FILLED.load(Relaxed) >= PAGE_SIZE {
        put_out();
    }
    let at = FILLED.load(Relaxed);
    if let Some(place) = PAGE.0.get(at as usize) {
        place.store(byte, Relaxed);
        FILLED.store(at + 1, Relaxed);
    }
}

/// Puts out what was added, whoever added it.
pub(super) fn put_out() {
    let length = FILLED.swap(0, Relaxed);
    if length > 0 {
        // A full page goes out while text is formatted, perhaps in ring 3; ports are ring 0's.
        usermode::in_ring0(|| write(LENGTH_PORT, length));
    }
}

fn read(port: u16) -> u32 {
    // SAFETY: no VMM has a register there whose reading has an effect on memory.
    unsafe { Port::new(port).read() }
}

fn write(port: u16, value: u32) {
    // SAFETY: the console reads the page, which is the kernel's to show, and writes to no memory.
    unsafe { Port::new(port).write(value) };
}
