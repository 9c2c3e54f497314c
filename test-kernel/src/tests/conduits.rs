//! Each conduit that works here, with the same number of the same call: a program outside takes the difference of the
//! exits and ioctls between two checkpoints. Then what interception of hypercalls would take from KVM's own; with
//! `forwarded`, that they are served. With `unoffered` there is no pvir, and its number is none of KVM's.

#![expect(unsafe_code, reason = "executes hypercalls")]

use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::cpu::cpuid::cpuid;
use crate::machine::cpu::time::cycles;
use crate::machine::exit::ExitCode;
use crate::println;
use crate::raw::Raw;
use core::arch::asm;
use pvir_guest::Discovered;
use pvir_guest::abi::{Conduits, FeaturesRecord, HYPERCALL_NUMBER, Operation, Status};
use pvir_test_kernel::cmdline::CommandLine;

/// Calls by each conduit, beside one before the first checkpoint.
const CALLS: u64 = 100;

/// In the order of the contract: the last is what the others are compared with, as every machine has it.
const CONDUITS: [(&str, Conduits); 4] = [
    ("vmcall", Conduits::VMCALL),
    ("vmmcall", Conduits::VMMCALL),
    ("msr", Conduits::MSR),
    ("port", Conduits::PORT),
];

pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let mut checks = Checks::new();
    if line.flag("unoffered") {
        nobodys_call(&mut checks);
        return Ok(checks.finish("conduits"));
    }
    let (discovered, _) = setup::discover(line)?;
    for (name, conduit) in CONDUITS {
        if discovered.usable.contains(conduit) {
            measure(&discovered, name, conduit, &mut checks);
        }
    }
    if line.flag("forwarded") {
        served_hypercalls(&mut checks);
    } else {
        own_hypercalls(&discovered, &mut checks);
    }
    Ok(checks.finish("conduits"))
}

fn measure(discovered: &Discovered, name: &str, conduit: Conduits, checks: &mut Checks) {
    let hardware = discovered.conduit_among(conduit);
    let Some(raw) = hardware.ok().and_then(Raw::new) else {
        return checks.expect("conduit", false, format_args!("{name}: not usable, or no memory for a block"));
    };
    let header = Raw::header(Operation::FEATURES, 1);
    let first = raw.call(&header, &[FeaturesRecord::request()]);
    raw.write(&header, &[FeaturesRecord::request()]);
    report::checkpoint("before");
    let start = cycles();
    let good = (0..CALLS).filter(|_| raw.call_at(raw.address()) == Status::OK).count() as u64;
    let each = cycles().wrapping_sub(start) / CALLS;
    report::checkpoint("after");
    let right = good == CALLS && first.status == Status::OK;
    checks.expect("conduit", right, format_args!("{name}: {good} of {CALLS} calls served"));
    println!("{name}: {each} cycles each");
    report::event("conduit", |event| {
        event.str("name", name).num("calls", CALLS + 1).num("cycles", each);
    });
}

const KVM_SIGNATURE: [u32; 3] =
    [u32::from_le_bytes(*b"KVMK"), u32::from_le_bytes(*b"VMKV"), u32::from_le_bytes(*b"M\0\0\0")];
/// KVM's features that rest on a hypercall, bits of leaf 0x40000001 (Linux, Documentation/virt/kvm/x86/cpuid.rst).
const BY_HYPERCALL: [(u32, &str); 4] = [(7, "unhalt"), (11, "send IPI"), (13, "yield"), (16, "map range")];
/// Their numbers (Documentation/virt/kvm/x86/hypercalls.rst), and one that KVM serves without showing it.
const NUMBERS: [(u64, &str); 4] = [(1, "vapic poll"), (5, "kick"), (10, "send IPI"), (11, "yield")];
/// -KVM_ENOSYS.
const NO_SUCH_CALL: u64 = 0_u64.wrapping_sub(1000);

/// What KVM offers by hypercall must be hidden where it is not served, and who calls all the same gets KVM's own "no".
fn own_hypercalls(discovered: &Discovered, checks: &mut Checks) {
    let by: unsafe fn(u64) -> u64 = match discovered.usable {
        usable if usable.contains(Conduits::VMMCALL) => vmmcall,
        usable if usable.contains(Conduits::VMCALL) => vmcall,
        _ => {
            let reason = Outcome::Skipped("hypercalls are not intercepted here");
            return checks.record("own-hypercalls", &reason, format_args!(""));
        }
    };
    let leaf = cpuid(0x4000_0000, 0);
    if [leaf.ebx, leaf.ecx, leaf.edx] == KVM_SIGNATURE {
        let features = cpuid(0x4000_0001, 0).eax;
        for (bit, name) in BY_HYPERCALL {
            let hidden = features & 1 << bit == 0;
            checks.expect(
                "own-hypercalls",
                hidden,
                format_args!("{name} is hidden: {hidden}, of {features:#x}"),
            );
        }
    }
    for (number, name) in NUMBERS {
        // SAFETY: none of these does more than wake a processor, of which there is none with this id.
        let answer = unsafe { by(number) };
        checks.expect(
            "own-hypercalls",
            answer == NO_SUCH_CALL,
            format_args!("{name}, number {number}: {answer:#x}"),
        );
    }
}

/// What KVM offers by hypercall is shown and served, and nothing else but pvir's one number is.
fn served_hypercalls(checks: &mut Checks) {
    let features = cpuid(0x4000_0001, 0).eax;
    for (bit, name) in &BY_HYPERCALL[..3] {
        let shown = features & 1 << bit != 0;
        checks.expect("own-hypercalls", shown, format_args!("{name} is shown: {shown}, of {features:#x}"));
    }
    let pvir = u64::from(HYPERCALL_NUMBER);
    let numbers = [(1, 0), (99, NO_SUCH_CALL), (pvir - 1, NO_SUCH_CALL), (pvir + 1, NO_SUCH_CALL)];
    for (number, expected) in numbers {
        let answer = hypercall(number);
        checks.expect("own-hypercalls", answer == expected, format_args!("number {number:#x}: {answer:#x}"));
    }
}

/// Where pvir is not offered its number is like any other.
fn nobodys_call(checks: &mut Checks) {
    let answer = hypercall(HYPERCALL_NUMBER.into());
    checks.expect("no-such-call", answer == NO_SUCH_CALL, format_args!("pvir's number: {answer:#x}"));
}

/// By the instruction of this CPU's vendor (`docs/abi.md`, statement C9). RBX, which KVM takes an argument from, is
/// whatever it is.
fn hypercall(number: u64) -> u64 {
    let vendor = cpuid(0, 0);
    let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
    let amd = [&b"AuthenticAMD"[..], b"HygonGenuine"].contains(&name.as_flattened());
    let call = if amd { vmmcall } else { vmcall };
    // SAFETY: the numbers above are served by nobody, or do nothing.
    unsafe { call(number) }
}

/// # Safety
/// Whoever serves the call changes nothing but RAX.
unsafe fn vmcall(number: u64) -> u64 {
    let answer;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("vmcall", inout("rax") number => answer, in("rcx") u64::MAX, in("rdx") 0, in("rsi") 0, in("rdi") 0,
            options(nostack));
    }
    answer
}

/// # Safety
/// Calls by VMMCALL; as [`vmcall`] in all else.
unsafe fn vmmcall(number: u64) -> u64 {
    let answer;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("vmmcall", inout("rax") number => answer, in("rcx") u64::MAX, in("rdx") 0, in("rsi") 0, in("rdi") 0,
            options(nostack));
    }
    answer
}
