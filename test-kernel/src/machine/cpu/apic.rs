//! The local APIC in x2APIC mode (Intel SDM volume 3, "Extended XAPIC (x2APIC)"): all by MSR, 32-bit ids.

#![expect(unsafe_code, reason = "model-specific registers")]

use super::cpuid::cpuid;
use super::interrupts::{SPURIOUS, WAKE};
use core::sync::atomic::{Ordering, fence};
use x86_64::registers::model_specific::Msr;

const APIC_BASE: u32 = 0x1b;
const ID: u32 = 0x802;
const TASK_PRIORITY: u32 = 0x808;
const EOI: u32 = 0x80b;
const SPURIOUS_VECTOR: u32 = 0x80f;
const IN_SERVICE: u32 = 0x810;
const REQUEST: u32 = 0x820;
const COMMAND: u32 = 0x830;
/// Interrupts the processor that writes a vector to it.
#[cfg(target_feature = "sse2")]
pub(super) const SELF_INTERRUPT: u32 = 0x83f;
const LVT_TIMER: u32 = 0x832;
const LVT_LINT0: u32 = 0x835;
const LVT_LINT1: u32 = 0x836;
const LVT_ERROR: u32 = 0x837;

const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const SOFTWARE_ENABLE: u64 = 1 << 8;
const LVT_MASKED: u64 = 1 << 16;
const LEVEL_ASSERT: u64 = 1 << 14;
const MODE_INIT: u64 = 5 << 8;
const MODE_STARTUP: u64 = 6 << 8;

fn read(register: u32) -> u64 {
    // SAFETY: called for architectural registers only, once `enable` has switched to x2APIC mode.
    unsafe { Msr::new(register).read() }
}

fn write(register: u32, value: u64) {
    // SAFETY: as for `read`; the values come from this module and are legal for their register.
    unsafe { Msr::new(register).write(value) };
}

/// Whether the processor has x2APIC mode.
pub(super) fn is_supported() -> bool {
    cpuid(1, 0).ecx & (1 << 21) != 0
}

/// Switches this processor's APIC to x2APIC mode and on, everything local masked.
pub(super) fn enable() {
    let base = read(APIC_BASE);
    if base & BASE_X2APIC == 0 {
        // The way from "off" leads through xAPIC mode.
        write(APIC_BASE, base | BASE_ENABLE);
        write(APIC_BASE, base | BASE_ENABLE | BASE_X2APIC);
    }
    write(TASK_PRIORITY, 0);
    write(SPURIOUS_VECTOR, SOFTWARE_ENABLE | u64::from(SPURIOUS));
    for local in [LVT_TIMER, LVT_LINT0, LVT_LINT1, LVT_ERROR] {
        write(local, LVT_MASKED);
    }
}

/// This processor's id.
pub(crate) fn id() -> u32 {
    let id = read(ID).to_le_bytes();
    u32::from_le_bytes([id[0], id[1], id[2], id[3]])
}

/// Says that the interrupt in service is done.
pub(super) fn end_of_interrupt() {
    write(EOI, 0);
}

/// Whether this processor is handling the vector.
pub(super) fn in_service(vector: u8) -> bool {
    read(IN_SERVICE + u32::from(vector / 32)) & 1 << (vector % 32) != 0
}

/// The vectors of `32 * group` and the 31 behind it that wait in this processor's local APIC, a bit each.
pub(crate) fn requested(group: u8) -> u64 {
    read(REQUEST + u32::from(group % 8))
}

/// Sends an interrupt to one processor.
pub(crate) fn send(apic_id: u32, vector: u8) {
    command(apic_id, u64::from(vector));
}

pub(super) fn wake(apic_id: u32) {
    send(apic_id, WAKE);
}

pub(super) fn send_init(apic_id: u32) {
    command(apic_id, MODE_INIT | LEVEL_ASSERT);
}

/// `page` is the 4 KiB page of real-mode memory where the processor starts.
pub(super) fn send_startup(apic_id: u32, page: u8) {
    command(apic_id, MODE_STARTUP | LEVEL_ASSERT | u64::from(page));
}

fn command(apic_id: u32, low: u64) {
    // The register is not serialising: what the other processor shall see must be out before.
    fence(Ordering::SeqCst);
    write(COMMAND, u64::from(apic_id) << 32 | low);
}
