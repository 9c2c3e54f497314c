//! Exceptions: back from ring 3, over an instruction that was expected to fault, or the end with a report.

#![expect(unsafe_code, reason = "called from assembly with a pointer to the saved registers")]

use super::{idt, probe, usermode};
use crate::machine::exit::{ExitCode, exit};
use crate::println;
use core::sync::atomic::{AtomicBool, Ordering};
use x86_64::registers::control::Cr2;

/// The registers as `stubs.s` saved them.
#[derive(Debug)]
#[repr(C)]
pub(super) struct TrapFrame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    pub(super) r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    pub(super) rax: u64,
    pub(super) vector: u64,
    pub(super) error: u64,
    pub(super) rip: u64,
    pub(super) cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const NMI: u64 = 2;
const DOUBLE_FAULT: u64 = 8;
const PAGE_FAULT: u64 = 14;
const MACHINE_CHECK: u64 = 18;

static CRASHING: AtomicBool = AtomicBool::new(false);

/// Called by the stubs of vectors 0 to 30.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn exception(frame: *mut TrapFrame) {
    // SAFETY: the stub passes the registers that it has just saved on this CPU's own interrupt stack.
    let frame = unsafe { &mut *frame };
    if frame.vector == NMI {
        // Nobody here sends one; counted like any interrupt, so that a test can see that.
        super::current().counts[2].fetch_add(1, Ordering::Relaxed);
        return;
    }
    let from_ring3 = frame.cs & 3 == 3;
    if from_ring3 && frame.vector == idt::RING3_GATE {
        if usermode::serve() {
            return;
        }
        usermode::leave(usermode::Outcome::Returned(frame.rax));
    }
    if from_ring3 && frame.vector != DOUBLE_FAULT && frame.vector != MACHINE_CHECK {
        usermode::leave(usermode::Outcome::Faulted(probe::Fault::new(frame.vector, frame.error)));
    }
    if !probe::recover(frame) {
        crash(frame);
    }
}

fn crash(frame: &TrapFrame) -> ! {
    let code = match frame.vector {
        DOUBLE_FAULT | MACHINE_CHECK => ExitCode::DoubleFault,
        _ => ExitCode::Exception,
    };
    if CRASHING.swap(true, Ordering::SeqCst) {
        // A crash while one is reported: whoever came first has the console, unless it is this very CPU.
        exit(code);
    }
    crate::machine::console::steal();
    let cpu = super::current();
    println!("exception {} ({}), error code {:#x}", frame.vector, name(frame.vector), frame.error);
    println!(
        "  cpu {} apic id {} rip {:#x} cs {:#x} rflags {:#x}",
        cpu.index, cpu.apic_id, frame.rip, frame.cs, frame.rflags
    );
    println!("  rsp {:#x} ss {:#x} cr2 {:#x}", frame.rsp, frame.ss, Cr2::read_raw());
    println!("  rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x}", frame.rax, frame.rbx, frame.rcx, frame.rdx);
    println!("  rsi {:#x} rdi {:#x} rbp {:#x} r8 {:#x}", frame.rsi, frame.rdi, frame.rbp, frame.r8);
    println!("  r9 {:#x} r10 {:#x} r11 {:#x} r12 {:#x}", frame.r9, frame.r10, frame.r11, frame.r12);
    println!("  r13 {:#x} r14 {:#x} r15 {:#x}", frame.r13, frame.r14, frame.r15);
    crate::machine::console::report::result("fail", |result| {
        result.str("error", name(frame.vector)).num("exception", frame.vector);
        result.hex("rip", frame.rip).hex("error_code", frame.error).num("cpu", cpu.index as u64);
        if frame.vector == PAGE_FAULT {
            result.hex("cr2", Cr2::read_raw());
        }
    });
    exit(code)
}

fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range",
        6 => "invalid opcode",
        7 => "device not available",
        DOUBLE_FAULT => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection",
        PAGE_FAULT => "page fault",
        16 => "x87 error",
        17 => "alignment check",
        MACHINE_CHECK => "machine check",
        19 => "SIMD error",
        21 => "control protection",
        29 => "VMM communication",
        _ => "reserved",
    }
}
