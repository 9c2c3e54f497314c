//! From the VMM's jump to the first line of Rust, and what the VMM says about the machine.

#![expect(unsafe_code, reason = "the entry point in assembly and its linkage")]

pub(crate) mod start_info;

use core::arch::global_asm;

pub(crate) use start_info::BootInfo;

global_asm!(include_str!("entry.s"), options(att_syntax));

unsafe extern "C" {
    static boot_tsc: u64;
}

/// The time stamp counter of the boot processor when it executed the kernel's first instruction.
pub(crate) fn started() -> u64 {
    // SAFETY: `entry.s` has written it before any Rust code ran, and nobody does so again.
    unsafe { boot_tsc }
}

/// Where `entry.s` arrives in 64-bit mode.
// SAFETY: no other symbol of the kernel has this name.
#[unsafe(no_mangle)]
extern "C" fn kernel_entry(start_info: u64) -> ! {
    crate::main(start_info)
}
