//! `memcpy` and its kin for the build on a host target, whose core library expects a C library to have them.
//!
//! String instructions, so that the compiler cannot turn the loops into calls of themselves. The bare-metal
//! target has its own.

#![cfg(not(target_os = "none"))]
#![expect(unsafe_code, reason = "functions of the C ABI over raw pointers")]

use core::arch::asm;

// SAFETY (every function here): the name is the C library's and no other definition is linked; callers keep the
// contract of the C function, which is all that the accesses need.

/// C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the caller says that both ranges are valid and do not overlap; the direction flag is clear.
    unsafe {
        asm!("mov rcx, rdx", "shr rcx, 3", "rep movsq", "mov ecx, edx", "and ecx, 7", "rep movsb",
            inout("rdi") to => _, inout("rsi") from => _, in("rdx") length, out("rcx") _,
            options(nostack));
    }
    to
}

/// C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= length {
        // SAFETY: copying upwards reads each byte before it is overwritten, as `to` is not inside the source.
        return unsafe { memcpy(to, from, length) };
    }
    // SAFETY: both ranges are valid; copying downwards reads each byte before it is overwritten.
    unsafe {
        asm!("std", "rep movsb", "cld",
            inout("rdi") to.wrapping_add(length).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(length).wrapping_sub(1) => _,
            inout("rcx") length => _, options(nostack));
    }
    to
}

/// C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    let pattern = u64::from(value.to_le_bytes()[0]) * 0x0101_0101_0101_0101;
    // SAFETY: the caller says that the range is valid; the direction flag is clear.
    unsafe {
        asm!("mov rcx, rdx", "shr rcx, 3", "rep stosq", "mov ecx, edx", "and ecx, 7", "rep stosb",
            inout("rdi") to => _, in("rdx") length, in("rax") pattern, out("rcx") _,
            options(nostack));
    }
    to
}

/// C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    for offset in 0..length {
        // SAFETY: the caller says that both ranges are valid for `length` bytes.
        let left = unsafe { left.wrapping_add(offset).read_volatile() };
        // SAFETY: as above.
        let right = unsafe { right.wrapping_add(offset).read_volatile() };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// The C library's `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    // SAFETY: the contract is the same.
    unsafe { memcmp(left, right, length) }
}

/// C's `strlen`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller says that the text is terminated.
    while unsafe { text.wrapping_add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
