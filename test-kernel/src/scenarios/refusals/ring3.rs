//! Calls from ring 3: refused by the processor, or by the host.

#![expect(unsafe_code, reason = "executes the conduits' instructions in ring 3")]

use super::super::checks::{Checks, Outcome};
use super::block::Raw;
use crate::cpu::usermode::{self, IoPrivilege};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use pvir_guest::Discovered;
use pvir_guest::abi::{CALL_NUMBER, Conduits, FeaturesRecord, Header, Operation, Status};

/// What the functions below need and cannot be given: they get one argument.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Tries each conduit that works here, whichever the kernel itself uses.
pub(super) fn run(raw: &Raw, discovered: &Discovered, checks: &mut Checks) {
    let host = &discovered.host;
    let ways: [(&str, Conduits, u32, extern "C" fn(u64) -> u64); 4] = [
        ("vmcall", Conduits::VMCALL, CALL_NUMBER, vmcall),
        ("vmmcall", Conduits::VMMCALL, CALL_NUMBER, vmmcall),
        ("msr", Conduits::MSR, host.msr, msr),
        ("port", Conduits::PORT, host.port.into(), port),
    ];
    for (name, conduit, number, instruction) in ways {
        if discovered.usable.contains(conduit) {
            NUMBER.store(number, Ordering::Relaxed);
            one(raw, name, instruction, checks);
        }
    }
}

fn one(raw: &Raw, name: &str, instruction: extern "C" fn(u64) -> u64, checks: &mut Checks) {
    raw.write(&Raw::header(Operation::FEATURES, 1), &[FeaturesRecord::request()]);
    let outcome = usermode::run(instruction, raw.address().0, IoPrivilege::Ring3);
    let untouched = raw.read::<Header>(0).status == Status::PENDING;
    match outcome {
        usermode::Outcome::Faulted(fault) => checks.expect(
            "ring3",
            untouched,
            format_args!("{name}: the processor refuses it ({fault:?}), the block is untouched: {untouched}"),
        ),
        usermode::Outcome::Returned(status) => {
            let refused = status == u64::from(Status::PRIVILEGE.0);
            checks.expect(
                "ring3",
                refused && untouched,
                format_args!("{name}: the host answers {status:#x}, the block is untouched: {untouched}"),
            );
        }
    }
    if name == "port" && matches!(outcome, usermode::Outcome::Faulted(_)) {
        let reason = Outcome::Skipped("this machine gives ring 3 no ports: the host was not asked");
        checks.record("ring3-port-host", &reason, format_args!(""));
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
