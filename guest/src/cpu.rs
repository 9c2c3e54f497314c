//! The CPUID instruction, and a barrier for the compiler.
#![expect(
    unsafe_code,
    reason = "CPUID has no safe form in every toolchain that this crate supports; the barrier is assembly"
)]

use core::arch::asm;
use pvir_abi::CpuidLeaf;

/// Executes CPUID for `leaf`, subleaf 0.
pub(crate) fn cpuid(leaf: u32) -> CpuidLeaf {
    let (eax, ebx, ecx, edx): (u32, u64, u32, u32);
    // SAFETY: every x86-64 CPU has CPUID. It reads EAX and ECX and writes EAX to EDX, touches no memory and no flags.
    // RBX, which the compiler keeps for itself, is put back by the exchange.
    unsafe {
        asm!(
            "mov {rbx}, rbx",
            "cpuid",
            "xchg {rbx}, rbx",
            rbx = out(reg) ebx,
            inout("eax") leaf => eax,
            inout("ecx") 0u32 => ecx,
            out("edx") edx,
            options(nomem, nostack, preserves_flags),
        );
    }
    // The upper half of RBX is zero after CPUID in 64-bit mode.
    let [b0, b1, b2, b3, ..] = ebx.to_le_bytes();
    CpuidLeaf { eax, ebx: u32::from_le_bytes([b0, b1, b2, b3]), ecx, edx }
}

/// Memory as the compiler knows it is stored before, and loaded again after.
///
/// Unlike a fence this is ordered with the assembly of conduits that claim to touch no memory: the compiler keeps all
/// assembly with side effects in order.
pub(crate) fn memory_barrier() {
    // Miri has no assembly, and so no conduit but those of tests, which are plain functions: for these a fence is enough.
    #[cfg(miri)]
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    // SAFETY: no instruction at all.
    #[cfg(not(miri))]
    unsafe {
        asm!("", options(nostack, preserves_flags));
    };
}
