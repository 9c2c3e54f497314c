//! The CPUID instruction.

#![expect(unsafe_code, reason = "an instruction that needs assembly")]

use core::arch::asm;

/// What the instruction leaves in the four registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) eax: u32,
    pub(crate) ebx: u32,
    pub(crate) ecx: u32,
    pub(crate) edx: u32,
}

/// Executes CPUID.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> Leaf {
    let (eax, ebx, ecx, edx): (u32, u64, u32, u32);
    // SAFETY: every 64-bit processor has CPUID; RBX, which the compiler keeps for itself, is restored.
    unsafe {
        asm!("mov {saved}, rbx", "cpuid", "xchg {saved}, rbx", saved = out(reg) ebx,
            inlateout("eax") leaf => eax, inlateout("ecx") subleaf => ecx, lateout("edx") edx,
            options(nostack, preserves_flags));
    }
    #[expect(clippy::cast_possible_truncation, reason = "CPUID clears the upper half")]
    let ebx = ebx as u32;
    Leaf { eax, ebx, ecx, edx }
}
