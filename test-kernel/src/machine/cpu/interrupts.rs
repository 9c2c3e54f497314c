//! Device interrupts and IPIs: counted for each processor and vector, and handed to a function if one is set.

#![expect(unsafe_code, reason = "called from assembly; functions kept as pointers")]

use super::{apic, by_index, current};
use core::sync::atomic::{AtomicPtr, Ordering};

/// A function called for each interrupt of a vector, on the processor that took it, with interrupts off. It must
/// not lock, print or wait.
pub(crate) type Handler = fn(vector: u8);

/// The lowest vector for devices; those below are exceptions.
pub(crate) const FIRST_DEVICE: u8 = 32;
/// Wakes a halted processor; below the device vectors, so that their counts stay exact.
pub(super) const WAKE: u8 = 31;
/// What the APIC delivers when an interrupt vanished; a device may use it too.
pub(super) const SPURIOUS: u8 = 255;

static HANDLERS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];

/// Called by the stubs of vectors 31 to 255.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn device_interrupt(vector: u64) {
    let slot = usize::from(vector.to_le_bytes()[0]);
    current().counts[slot].fetch_add(1, Ordering::Release);
    let handler = HANDLERS[slot].load(Ordering::Acquire);
    if !handler.is_null() {
        // SAFETY: only `set_handler` writes non-null values, each made from a `Handler`.
        let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
        handler(vector.to_le_bytes()[0]);
    }
    // The spurious interrupt of the APIC itself is not in service and must not be acknowledged.
    if slot != usize::from(SPURIOUS) || apic::in_service(SPURIOUS) {
        apic::end_of_interrupt();
    }
}

/// Sets or removes the function of a vector, for all processors.
pub(crate) fn set_handler(vector: u8, handler: Option<Handler>) {
    let pointer = handler.map_or(core::ptr::null_mut(), |handler| handler as *mut ());
    HANDLERS[usize::from(vector)].store(pointer, Ordering::Release);
}

/// How often a processor has taken a vector since the start.
pub(crate) fn count(cpu: usize, vector: u8) -> u64 {
    by_index(cpu).map_or(0, |cpu| cpu.counts[usize::from(vector)].load(Ordering::Acquire))
}

/// How often a vector was taken on all processors together.
pub(crate) fn total(vector: u8) -> u64 {
    super::all().map(|cpu| cpu.counts[usize::from(vector)].load(Ordering::Acquire)).sum()
}

/// All device interrupts of all processors.
pub(crate) fn grand_total() -> u64 {
    (FIRST_DEVICE..=u8::MAX).map(total).sum()
}
