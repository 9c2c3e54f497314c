//! The interrupt descriptor table: one for all processors, every gate on an interrupt stack.

#![expect(unsafe_code, reason = "the stubs in assembly and loading the table")]

use super::segments::{IST_DEVICE, IST_EXCEPTION, IST_FATAL, IST_NMI, IST_RING3_GATE};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::{Mutex, MutexGuard};
use x86_64::VirtAddr;
use x86_64::structures::DescriptorTablePointer;

global_asm!(
    include_str!("stubs.s"),
    keep_xmm = const cfg!(target_feature = "sse2") as u8,
    options(att_syntax)
);

/// A gate as the processor reads it.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Gate([u64; 2]);

static TABLE: Mutex<[Gate; 256]> = Mutex::new([Gate([0; 2]); 256]);
static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// The vector of the only gate that ring 3 may call: overflow, which 64-bit code cannot raise otherwise.
pub(super) const RING3_GATE: u64 = 4;

/// Fills the table; once, on the boot processor.
pub(super) fn init() {
    let Some(table) = TABLE.try_lock() else { return };
    let table = MutexGuard::leak(table);
    for (gate, vector) in table.iter_mut().zip(0_u64..) {
        *gate = Gate::new(vector);
    }
    ADDRESS.store(table.as_ptr() as u64, Ordering::Release);
}

/// Makes this processor use the table.
pub(super) fn load() {
    let base = VirtAddr::new(ADDRESS.load(Ordering::Acquire));
    // SAFETY: `init` filled the table, and it lives for ever.
    unsafe { x86_64::instructions::tables::lidt(&DescriptorTablePointer { limit: 256 * 16 - 1, base }) };
}

impl Gate {
    fn new(vector: u64) -> Self {
        unsafe extern "C" {
            static interrupt_stubs: u8;
        }
        const CODE: u64 = 0x08 << 16;
        const PRESENT_INTERRUPT_GATE: u64 = 0x8e << 40;
        const RING3: u64 = 3 << 45;
        let stub = (&raw const interrupt_stubs) as u64 + vector * 16;
        let stack = u64::from(match vector {
            2 => IST_NMI,
            RING3_GATE => IST_RING3_GATE,
            8 | 18 => IST_FATAL,
            0..=30 => IST_EXCEPTION,
            _ => IST_DEVICE,
        });
        let privilege = if vector == RING3_GATE { RING3 } else { 0 };
        let low = (stub & 0xffff) | CODE | stack << 32 | PRESENT_INTERRUPT_GATE | privilege;
        Self([low | (stub >> 16 & 0xffff) << 48, stub >> 32])
    }
}
