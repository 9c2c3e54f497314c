//! Instructions that may fault, such as an MSR that perhaps does not exist or a hypercall that perhaps nobody
//! takes: the fault comes back as a value.
//!
//! Each such instruction leaves a pair in section `.fixup`: where it stands, and where to go on. After a fault
//! there R11 says which; before the instruction it is cleared.

#![expect(unsafe_code, reason = "privileged instructions and a table that the linker puts together")]

use super::exceptions::TrapFrame;
use core::arch::asm;
use core::fmt;

/// An exception that was expected to be possible.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The vector: 6 is invalid opcode, 13 general protection, 14 a page fault.
    pub(crate) vector: u8,
    /// What the processor pushed, or 0.
    pub(crate) code: u32,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vector {
            6 => write!(f, "#UD"),
            13 => write!(f, "#GP({:#x})", self.code),
            14 => write!(f, "#PF({:#x})", self.code),
            vector => write!(f, "exception {vector} ({:#x})", self.code),
        }
    }
}

/// Set in R11 after a fault, so that vector 0 without a code is one too.
const FAULTED: u64 = 1 << 63;

impl Fault {
    #[expect(clippy::cast_possible_truncation, reason = "vectors are below 256, error codes have 32 bits")]
    pub(super) const fn new(vector: u64, code: u64) -> Self {
        Self { vector: vector as u8, code: code as u32 }
    }

    const fn check(word: u64) -> Result<(), Self> {
        if word & FAULTED == 0 { Ok(()) } else { Err(Self::new(word >> 32 & 0xff, word & 0xffff_ffff)) }
    }
}

/// The instruction with its entry in the table; the caller has R11 as an in-out operand, 0 before.
macro_rules! guarded {
    ($instruction:literal) => {
        concat!("2: ", $instruction, "\n3:\n.pushsection .fixup, \"a\"\n.balign 8\n.quad 2b, 3b\n.popsection")
    };
}
#[cfg(target_feature = "sse2")]
pub(super) use guarded;

/// Reads a model-specific register.
pub(crate) fn rdmsr(index: u32) -> Result<u64, Fault> {
    let (low, high, fault): (u32, u32, u64);
    // SAFETY: reading an MSR changes no memory; a fault is caught by the table.
    unsafe {
        asm!(guarded!("rdmsr"), in("ecx") index, inout("eax") 0 => low, inout("edx") 0 => high,
            inout("r11") 0_u64 => fault, options(nostack));
    }
    Fault::check(fault).map(|()| u64::from(high) << 32 | u64::from(low))
}

/// Writes a model-specific register.
///
/// # Safety
/// The register, if it exists, does nothing with this value that breaks the kernel.
pub(crate) unsafe fn wrmsr(index: u32, value: u64) -> Result<(), Fault> {
    let fault: u64;
    // SAFETY: the caller vouches for the effect; a fault is caught by the table.
    unsafe {
        asm!(guarded!("wrmsr"), in("ecx") index, in("eax") value & 0xffff_ffff, in("edx") value >> 32,
            inout("r11") 0_u64 => fault, options(nostack));
    }
    Fault::check(fault)
}

/// A hypercall by an instruction that perhaps nobody takes: the number in RAX, the argument in RDI. Answers RAX.
macro_rules! hypercall {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The argument is a block that the host may write.
        pub(crate) unsafe fn $name(number: u64, argument: u64) -> Result<u64, Fault> {
            let (answer, fault): (u64, u64);
            // SAFETY: the caller gives the block away; a fault is caught by the table.
            unsafe {
                asm!(guarded!($instruction), inout("rax") number => answer, in("rdi") argument,
                    inout("r11") 0_u64 => fault, options(nostack));
            }
            Fault::check(fault).map(|()| answer)
        }
    };
}

hypercall!(
    /// `VMCALL`.
    vmcall, "vmcall"
);
hypercall!(
    /// `VMMCALL`.
    vmmcall, "vmmcall"
);

/// Reads 32 bits of memory that is perhaps not mapped.
pub(crate) fn read_u32(address: u64) -> Result<u32, Fault> {
    let (value, fault): (u32, u64);
    // SAFETY: a read changes nothing, and a fault is caught by the table.
    unsafe {
        asm!(guarded!("mov eax, [rdi]"), in("rdi") address, inout("eax") 0 => value, inout("r11") 0_u64 => fault,
            options(nostack, readonly));
    }
    Fault::check(fault).map(|()| value)
}

/// An instruction that no processor has.
pub(crate) fn undefined() -> Result<(), Fault> {
    let fault: u64;
    // SAFETY: UD2 always faults, which is caught by the table.
    unsafe { asm!(guarded!("ud2"), inout("r11") 0_u64 => fault, options(nostack)) };
    Fault::check(fault)
}

/// Goes on behind the instruction, if it is in the table.
pub(super) fn recover(frame: &mut TrapFrame) -> bool {
    unsafe extern "C" {
        static fixup_start: [u64; 2];
        static fixup_end: [u64; 2];
    }
    let mut entry = &raw const fixup_start;
    while entry < &raw const fixup_end {
        // SAFETY: the linker put whole pairs between the two symbols.
        let [instruction, landing] = unsafe { entry.read() };
        if instruction == frame.rip {
            frame.rip = landing;
            frame.r11 = FAULTED | frame.vector << 32 | frame.error & 0xffff_ffff;
            return true;
        }
        entry = entry.wrapping_add(1);
    }
    false
}
