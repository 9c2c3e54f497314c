//! Calls from ring 3: refused by the processor, or by the host.

#![expect(unsafe_code, reason = "executes the conduits' instructions in ring 3")]

use super::Raw;
use crate::machine::cpu::usermode::{self, IoPrivilege, Outcome};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use pvir_guest::Discovered;
use pvir_guest::abi::{Conduits, FeaturesRecord, HYPERCALL_NUMBER, Header, Operation, Status};

/// What the functions below need and cannot be given: they get one argument.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// RAX of a hypercall that the hypervisor refuses for its privilege level (`docs/abi.md`, statement C4).
const NOT_PERMITTED: u64 = u64::MAX;

/// What became of a call from ring 3.
pub(crate) struct Attempt {
    /// Name of the conduit.
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    /// Whether the host left the block alone.
    pub(crate) untouched: bool,
}

impl Attempt {
    /// Whether the processor refused it, or the hypervisor where it may, or the host by PRIVILEGE, and nothing was written.
    pub(crate) fn is_refused(&self) -> bool {
        let refused = match self.outcome {
            Outcome::Faulted(_) => true,
            Outcome::Returned(status) => status == u64::from(Status::PRIVILEGE.0) || self.is_by_hypervisor(),
        };
        refused && self.untouched
    }

    /// Whether it is a hypercall that the hypervisor itself has refused.
    pub(crate) fn is_by_hypervisor(&self) -> bool {
        self.name != "port" && matches!(self.outcome, Outcome::Returned(NOT_PERMITTED))
    }
}

/// Tries each conduit that works here, whichever the kernel itself uses, with a good block.
pub(crate) fn each(raw: &Raw, discovered: &Discovered, mut attempted: impl FnMut(Attempt)) {
    let host = &discovered.host;
    let ways: [(&str, Conduits, u32, extern "C" fn(u64) -> u64); 4] = [
        ("vmcall", Conduits::VMCALL, HYPERCALL_NUMBER, vmcall),
        ("vmmcall", Conduits::VMMCALL, HYPERCALL_NUMBER, vmmcall),
        ("msr", Conduits::MSR, host.msr, msr),
        ("port", Conduits::PORT, host.port.into(), port),
    ];
    for (name, conduit, number, instruction) in ways {
        if discovered.usable.contains(conduit) {
            NUMBER.store(number, Ordering::Relaxed);
            raw.write(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
            let outcome = usermode::run(instruction, raw.address().0, IoPrivilege::Ring3);
            let untouched = raw.read::<Header>(0).status == Status::PENDING;
            attempted(Attempt { name, outcome, untouched });
        }
    }
}

extern "C" fn vmcall(block: u64) -> u64 {
    let status;
    // SAFETY: the host changes RAX alone, and memory that the caller has set aside.
    unsafe { asm!("vmcall", inout("rax") number() => status, in("rdi") block, options(nostack)) };
    status
}

extern "C" fn vmmcall(block: u64) -> u64 {
    let status;
    // SAFETY: as above.
    unsafe { asm!("vmmcall", inout("rax") number() => status, in("rdi") block, options(nostack)) };
    status
}

extern "C" fn msr(block: u64) -> u64 {
    // SAFETY: faults in ring 3, which the excursion catches.
    unsafe {
        asm!("wrmsr", in("rcx") number(), in("rax") block, in("rdx") block >> 32, options(nostack));
    }
    0
}

extern "C" fn port(block: u64) -> u64 {
    let status: u64;
    // SAFETY: the port is the host's conduit.
    unsafe {
        asm!("out dx, eax", "in eax, dx", in("rdx") number(), inout("rax") block >> 12 => status, options(nostack));
    }
    status
}

fn number() -> u64 {
    NUMBER.load(Ordering::Relaxed).into()
}
