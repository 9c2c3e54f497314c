//! Excursions to ring 3: to see what the machine refuses to code without privilege.

#![expect(unsafe_code, reason = "enters and leaves ring 3 through assembly")]

use super::probe::Fault;

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

/// Runs `code` in ring 3 of this processor, with interrupts on, and says how it ended.
///
/// The function sees all of memory (the map is open to ring 3), but must neither print nor lock: both switch
/// interrupts off, which faults. A function that does not end hangs this processor.
pub(crate) fn run(code: extern "C" fn(u64) -> u64, argument: u64, ports: IoPrivilege) -> Outcome {
    const RESERVED_ONE: u64 = 1 << 1;
    const INTERRUPTS_ON: u64 = 1 << 9;
    let rflags = RESERVED_ONE | INTERRUPTS_ON | (ports as u64) << 12;
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
