//! Checks that need no device.

#![expect(unsafe_code, reason = "probes instructions that may fault, in ring 0 and ring 3")]

use super::{Checks, Outcome};
use crate::machine::cpu::interrupts::{self, FIRST_DEVICE};
use crate::machine::cpu::probe::{self, Fault};
use crate::machine::cpu::time::{PATIENCE_MS, QUIET_MS, wait_until};
use crate::machine::cpu::usermode::{self, IoPrivilege};
use crate::machine::cpu::{self, apic, smp};
use crate::machine::memory::frames;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// An MSR that no processor has.
const NO_MSR: u32 = 0x1234_5678;
const APIC_BASE: u32 = 0x1b;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const GENERAL_PROTECTION: u8 = 13;
const INVALID_OPCODE: u8 = 6;
const PAGE_FAULT: u8 = 14;
/// The vector of the tests of interrupts between processors.
const IPI: u8 = 0x51;
const HANDLED_VECTOR: u8 = 0x50;

fn faulted<T>(result: &Result<T, Fault>, vector: u8) -> bool {
    matches!(result, Err(fault) if fault.vector == vector)
}

/// Faults in ring 0 come back as values.
pub(super) fn faults(checks: &mut Checks) {
    let read = probe::rdmsr(NO_MSR);
    let outcome = match read {
        Err(fault) if fault.vector == GENERAL_PROTECTION => Outcome::Passed,
        Ok(0) => Outcome::Skipped("this emulator lets unknown MSRs be read"),
        _ => Outcome::Failed,
    };
    checks.record("rdmsr-fault", &outcome, format_args!("{read:?}"));
    let base = probe::rdmsr(APIC_BASE).unwrap_or(0);
    // SAFETY: from x2APIC back to xAPIC mode there is no way, so this faults and changes nothing.
    let written = unsafe { probe::wrmsr(APIC_BASE, base & !APIC_BASE_X2APIC) };
    checks.expect("wrmsr-fault", faulted(&written, GENERAL_PROTECTION), format_args!("{written:?}"));
    let undefined = probe::undefined();
    checks.expect("undefined-fault", faulted(&undefined, INVALID_OPCODE), format_args!("{undefined:?}"));
    let unmapped = probe::read_u32((1 << 47) - 4096);
    checks.expect("page-fault", faulted(&unmapped, PAGE_FAULT), format_args!("{unmapped:?}"));
    let mapped = probe::read_u32(frames::kernel_end() - 4096);
    checks.expect("no-fault", mapped.is_ok(), format_args!("{mapped:?}"));
}

extern "C" fn add_one(argument: u64) -> u64 {
    argument + 1
}

extern "C" fn halt(_: u64) -> u64 {
    // SAFETY: in ring 3 this faults, which is what the check is about.
    unsafe { asm!("hlt", options(nomem, nostack)) };
    0
}

extern "C" fn line_status(_: u64) -> u64 {
    let value: u8;
    // SAFETY: the line status of COM1 is read without effect, or the instruction faults.
    unsafe {
        asm!("in al, dx", in("dx") 0x3fd_u16, out("al") value, options(nomem, nostack));
    }
    u64::from(value)
}

/// Ring 3 is entered and left, and what it may not do faults.
pub(super) fn ring3(checks: &mut Checks) {
    let returned = usermode::run(add_one, 41, IoPrivilege::Ring0);
    checks.expect("ring3-return", returned == usermode::Outcome::Returned(42), format_args!("{returned:?}"));
    let is_gp =
        |outcome| matches!(outcome, usermode::Outcome::Faulted(fault) if fault.vector == GENERAL_PROTECTION);
    let halted = usermode::run(halt, 0, IoPrivilege::Ring3);
    checks.expect("ring3-hlt", is_gp(halted), format_args!("{halted:?}"));
    let refused = usermode::run(line_status, 0, IoPrivilege::Ring0);
    checks.expect("ring3-port-refused", is_gp(refused), format_args!("{refused:?}"));
    let allowed = usermode::run(line_status, 0, IoPrivilege::Ring3);
    let outcome = match allowed {
        usermode::Outcome::Returned(_) => Outcome::Passed,
        usermode::Outcome::Faulted(_) => {
            Outcome::Skipped("this machine gives ring 3 no ports, whatever IOPL says")
        }
    };
    checks.record("ring3-port-allowed", &outcome, format_args!("{allowed:?}"));
}

/// Every processor does what it is told, and is who it should be.
pub(super) fn work_on_all(checks: &mut Checks) {
    let right = cpu::all().filter(|cpu| {
        smp::run_on(cpu.index, |_| u64::from(apic::id()), 0) == Ok(u64::from(cpu.apic_id))
            && smp::run_on(cpu.index, |n| n * 2 + cpu::current().index as u64, 100)
                == Ok(200 + cpu.index as u64)
    });
    let right = right.count();
    let highest = cpu::all().map(|cpu| cpu.apic_id).max().unwrap_or(0);
    checks.expect(
        "smp",
        right == cpu::count(),
        format_args!("{right} of {} CPUs work, highest APIC id {highest}", cpu::count()),
    );
}

static HANDLED: AtomicU64 = AtomicU64::new(0);

/// A function set for a vector runs on the processor that takes it.
pub(super) fn handler(checks: &mut Checks) {
    let Some(target) = cpu::all().last().and_then(|cpu| cpu::by_apic_id(cpu.apic_id)) else { return };
    let note = |vector: u8| {
        HANDLED.store(u64::from(cpu::current().apic_id) << 8 | u64::from(vector), Ordering::Release);
    };
    interrupts::set_handler(HANDLED_VECTOR, Some(note));
    apic::send(target.apic_id, HANDLED_VECTOR);
    let expected = u64::from(target.apic_id) << 8 | u64::from(HANDLED_VECTOR);
    let called = wait_until(PATIENCE_MS, || HANDLED.load(Ordering::Acquire) == expected);
    interrupts::set_handler(HANDLED_VECTOR, None);
    checks.expect("handler", called, format_args!("on APIC id {}", target.apic_id));
}

/// Sends `rounds` interrupts, one after the other, from this processor to all; 1 if one of them did not arrive.
fn send_to_all(rounds: u64) -> u64 {
    for target in cpu::all() {
        for _ in 0..rounds {
            let before = interrupts::count(target.index, IPI);
            apic::send(target.apic_id, IPI);
            if !wait_until(PATIENCE_MS, || interrupts::count(target.index, IPI) == before + 1) {
                return 1;
            }
        }
    }
    0
}

/// From each processor to each, also to itself.
pub(super) fn interprocessor_interrupts(checks: &mut Checks, rounds: u64) {
    if cpu::count() > 32 {
        let outcome = Outcome::Skipped("pairs of more than 32 CPUs take too long");
        return checks.record("ipi", &outcome, format_args!(""));
    }
    let before = interrupts::grand_total();
    let mut lost = 0;
    for sender in cpu::all() {
        lost += smp::run_on(sender.index, send_to_all, rounds).unwrap_or(1);
    }
    let senders = cpu::count() as u64;
    let exact = cpu::all().all(|cpu| interrupts::count(cpu.index, IPI) == senders * rounds);
    let other = interrupts::grand_total() - before - interrupts::total(IPI);
    checks.expect(
        "ipi",
        lost == 0 && exact && other == 0,
        format_args!("{} sent, {} taken, {other} other", senders * senders * rounds, interrupts::total(IPI)),
    );
}

/// Every device vector once on the last processor, and nothing else anywhere.
pub(super) fn every_vector(checks: &mut Checks) {
    let Some(target) = cpu::all().last() else { return };
    let before = interrupts::grand_total();
    let mut lost = 0_u32;
    for vector in FIRST_DEVICE..=u8::MAX {
        let count = interrupts::count(target.index, vector);
        apic::send(target.apic_id, vector);
        if !wait_until(PATIENCE_MS, || interrupts::count(target.index, vector) == count + 1) {
            lost += 1;
        }
    }
    let expected = u64::from(u8::MAX - FIRST_DEVICE) + 1;
    wait_until(QUIET_MS, || interrupts::grand_total() - before > expected);
    let taken = interrupts::grand_total() - before;
    checks.expect("vectors", lost == 0 && taken == expected, format_args!("{expected} sent, {taken} taken"));
}
