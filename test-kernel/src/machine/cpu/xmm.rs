//! The XMM registers of a processor that is interrupted: whether the stubs keep them.

#![cfg(target_feature = "sse2")]
#![expect(unsafe_code, reason = "loads and stores vector registers")]

use super::interrupts;
use super::{apic, current, probe};
use core::arch::asm;

/// What stands in XMM0 to XMM15.
pub(crate) type Registers = [[u64; 2]; 16];

/// Turns of the waiting loop, of a few instructions each: interrupts of a processor to itself come at once.
const TURNS: u64 = 1 << 28;

/// Loads XMM0 to XMM15, then `rounds` times (not 0) has this processor interrupt itself by `vector` and execute an
/// undefined instruction, with nothing but these instructions in between. Returns what the registers hold then.
///
/// The handlers of the vector and of the exception are called with the registers in use, and overwrite them: the
/// former here, the latter as the compiler likes.
pub(crate) fn interrupted(values: &Registers, vector: u8, rounds: u64) -> Registers {
    interrupts::set_handler(vector, Some(overwrite));
    let mut found = [[0; 2]; 16];
    let count = current().counts[usize::from(vector)].as_ptr();
    // SAFETY: 256 bytes are read from `values` and written to `found`; the counter is this processor's and is only
    // read; the interrupt is to this processor, whose stub keeps every register; the fault is caught by the table.
    unsafe {
        asm!(
            ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "movups xmm\\number, [rsi + 16 * \\number]",
            ".endr",
            "4:",
            "mov r10, [r8]",
            "mov eax, r9d",
            "xor edx, edx",
            "wrmsr",
            "mov rax, {turns}",
            "5:",
            "cmp r10, [r8]",
            "jne 6f",
            "pause",
            "dec rax",
            "jnz 5b",
            "6:",
            probe::guarded!("ud2"),
            "dec {rounds}",
            "jnz 4b",
            ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "movups [rdi + 16 * \\number], xmm\\number",
            ".endr",
            turns = in(reg) TURNS,
            rounds = inout(reg) rounds => _,
            in("ecx") apic::SELF_INTERRUPT,
            in("rsi") values,
            in("rdi") &raw mut found,
            in("r8") count,
            in("r9") u64::from(vector),
            out("rax") _, out("rdx") _, out("r10") _, inout("r11") 0_u64 => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack),
        );
    }
    interrupts::set_handler(vector, None);
    found
}

/// Overwrites all of them, as any Rust function may.
fn overwrite(_vector: u8) {
    static ONES: [u64; 2] = [u64::MAX; 2];
    // SAFETY: 16 bytes are read; every register that is written is declared.
    unsafe {
        asm!(
            ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "movups xmm\\number, [{ones}]",
            ".endr",
            ones = in(reg) &raw const ONES,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack, readonly, preserves_flags),
        );
    }
}
