//! The conduits VMCALL and VMMCALL: RAX holds the number and RDI the address of the block; RAX answers the status.
#![expect(unsafe_code, reason = "the two instructions exist only as assembly")]

use super::{Conduit, status_of};
use core::arch::asm;
use pvir_abi::{GuestPhysAddr, HYPERCALL_NUMBER, Status};

/// The conduit of the `VMCALL` instruction, for CPUs with VMX (Intel SDM Vol. 3C, "VMCALL—Call to VM Monitor").
#[derive(Clone, Copy, Debug)]
pub struct Vmcall;

/// The conduit of the `VMMCALL` instruction, for CPUs with SVM (AMD64 Architecture Programmer's Manual Vol. 3,
/// "VMMCALL").
#[derive(Clone, Copy, Debug)]
pub struct Vmmcall;

/// The call number as RAX holds it: zero-extended.
const NUMBER: u64 = HYPERCALL_NUMBER as u64;

// No `nomem`: the host reads and writes the block, so that the compiler must have stored the request before and must
// load the answer after. No `preserves_flags`: the contract promises registers, and flags are cheap to give up.

impl Conduit for Vmcall {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        let rax;
        // SAFETY: the host advertises VMCALL, so it does not fault at CPL 0 and changes RAX alone (statement C2); the
        // memory that it changes is the block, which is the caller's to give, and the event area.
        unsafe {
            asm!("vmcall", inout("rax") NUMBER => rax, in("rdi") block.0, options(nostack));
        }
        status_of(rax)
    }
}

impl Conduit for Vmmcall {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        let rax;
        // SAFETY: as for VMCALL, with VMMCALL advertised.
        unsafe {
            asm!("vmmcall", inout("rax") NUMBER => rax, in("rdi") block.0, options(nostack));
        }
        status_of(rax)
    }
}
