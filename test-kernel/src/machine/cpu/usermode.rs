//! Excursions to ring 3: to see what the machine refuses to code without privilege, and, where the machine interprets
//! ring 0, to run at its full speed and with all of its instructions.

#![expect(unsafe_code, reason = "enters and leaves ring 3 through assembly")]

use super::idt::RING3_GATE;
use super::probe::Fault;
use core::arch::asm;
use x86_64::PrivilegeLevel;
use x86_64::instructions::interrupts;
use x86_64::instructions::segmentation::{CS, Segment};

/// How an excursion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The function returned this.
    Returned(u64),
    /// An instruction of it faulted.
    Faulted(Fault),
}

/// Which rings may use I/O ports meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum IoPrivilege {
    Ring0 = 0,
    Ring3 = 3,
}

#[repr(C)]
struct RawExit {
    how: u64,
    value: u64,
}

unsafe extern "C" {
    fn usermode_enter(code: u64, argument: u64, rflags: u64, stack_top: u64) -> RawExit;
    fn usermode_leave(how: u64, value: u64) -> !;
}

const RETURNED: u64 = 0;
const FAULTED: u64 = 1;

/// Runs `code` in ring 3 of this processor, with interrupts on or off as they are, and says how it ended.
///
/// The function sees all of memory (the map is open to ring 3), but must neither print nor lock: both switch
/// interrupts off, which faults. A function that does not end hangs this processor. Excursions do not nest.
pub(crate) fn run(code: extern "C" fn(u64) -> u64, argument: u64, ports: IoPrivilege) -> Outcome {
    const RESERVED_ONE: u64 = 1 << 1;
    const INTERRUPTS_ON: u64 = 1 << 9;
    let interrupts = if interrupts::are_enabled() { INTERRUPTS_ON } else { 0 };
    let rflags = RESERVED_ONE | interrupts | (ports as u64) << 12;
    let stack = super::current().stacks.user;
    // SAFETY: the stack is this processor's and in use by nobody else, as excursions do not nest; the assembly
    // keeps the registers that the ABI says are kept.
    let exit = unsafe { usermode_enter(code as usize as u64, argument, rflags, stack) };
    match exit.how {
        RETURNED => Outcome::Returned(exit.value),
        _ => Outcome::Faulted(Fault::new(exit.value >> 32, exit.value & 0xffff_ffff)),
    }
}

/// Ends the excursion of this processor; called on the exception stack, whose contents are given up.
pub(super) fn leave(outcome: Outcome) -> ! {
    let (how, value) = match outcome {
        Outcome::Returned(value) => (RETURNED, value),
        Outcome::Faulted(fault) => (FAULTED, u64::from(fault.vector) << 32 | u64::from(fault.code)),
    };
    // SAFETY: ring 3 runs only below `usermode_enter`, whose frame on the kernel's stack is intact.
    unsafe { usermode_leave(how, value) }
}

/// A function and its argument.
pub(super) struct Errand {
    carry_out: extern "C" fn(u64) -> u64,
    argument: u64,
}

/// Work to be done in the other ring, and what came of it.
struct Parcel<F, R> {
    work: Option<F>,
    result: Option<R>,
}

extern "C" fn open<F: FnOnce() -> R, R>(parcel: u64) -> u64 {
    // SAFETY: the address of a parcel of this type on the stack of whoever waits in the other ring, on this processor.
    let parcel = unsafe { &mut *(parcel as *mut Parcel<F, R>) };
    parcel.result = parcel.work.take().map(|work| work());
    0
}

/// Does `work` in ring 3 of this processor, where it may neither print nor lock. [`in_ring0`] brings it back for a moment.
///
/// # Errors
/// If something in it faulted.
pub(crate) fn in_ring3<F: FnOnce() -> R, R>(work: F) -> Result<Option<R>, Fault> {
    let mut parcel = Parcel { work: Some(work), result: None };
    match run(open::<F, R>, (&raw mut parcel) as u64, IoPrivilege::Ring0) {
        Outcome::Returned(_) => Ok(parcel.result),
        Outcome::Faulted(fault) => Err(fault),
    }
}

/// Does `work`, which formats text, where all instructions can be executed.
///
/// The prebuilt core library of a target with vector registers adds and compares in them when it formats numbers and
/// pads. KVM's interpreter, which some software KVMs have ring 0 executed by, knows only moves of these registers. Ring 3
/// is executed by the processor everywhere. Where that cannot be entered, because the processor is not set up yet or
/// is on an excursion, the work is done here.
///
/// # Panics
/// If something in it faulted.
#[expect(clippy::panic, reason = "a kernel whose messages cannot be formatted has nothing else to say")]
pub(crate) fn with_all_instructions<F: FnOnce() -> R, R>(work: F) -> R {
    let possible = cfg!(target_feature = "sse2")
        && super::count() > 0
        && is_ring0()
        && super::current().ring0_stack.get() == 0;
    if !possible {
        return work();
    }
    match in_ring3(work) {
        Ok(Some(result)) => result,
        Ok(None) => panic!("ring 3 did not do what it was entered for"),
        Err(fault) => panic!("text could not be formatted: {fault}"),
    }
}

fn is_ring0() -> bool {
    CS::get_reg().rpl() == PrivilegeLevel::Ring0
}

/// Does `work` in ring 0, with interrupts off if that is not where we are.
pub(crate) fn in_ring0<F: FnOnce() -> R, R>(work: F) -> Option<R> {
    if is_ring0() {
        return Some(work());
    }
    let mut parcel = Parcel { work: Some(work), result: None };
    let errand = Errand { carry_out: open::<F, R>, argument: (&raw mut parcel) as u64 };
    super::current().errand.set(&raw const errand);
    // SAFETY: the gate is open to ring 3, its stub keeps all registers, and `serve` touches what the errand names alone.
    unsafe { asm!("int {vector}", vector = const RING3_GATE) };
    parcel.result
}

/// Carries out what ring 3 wants, if that is why it came through its gate; otherwise its excursion has ended.
pub(super) fn serve() -> bool {
    let errand = super::current().errand.replace(core::ptr::null());
    // SAFETY: null, or what `in_ring0` has stored, on a stack that waits for this to return.
    let errand = unsafe { errand.as_ref() };
    errand.map(|errand| (errand.carry_out)(errand.argument)).is_some()
}
