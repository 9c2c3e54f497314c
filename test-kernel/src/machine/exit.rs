//! How the kernel ends the VM: the exit devices of pvir, QEMU and Cloud Hypervisor, one after the other.

#![expect(unsafe_code, reason = "port output and halting the processor")]

use crate::machine::console;
use core::fmt::Display;
use x86_64::instructions::port::Port;

/// The exit code of the VM. pvir ends with this number, QEMU's isa-debug-exit with `2 * number + 1`; Cloud
/// Hypervisor only stops. None is a code that pvir has for itself, save 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ExitCode {
    /// Everything asked for was done and was right.
    Pass = 0,
    /// A check failed.
    Fail = 1,
    /// A bug in the kernel: a Rust panic.
    Panic = 10,
    /// An exception that nobody expected.
    Exception = 11,
    /// A double fault or a machine check.
    DoubleFault = 12,
    /// The command line asks for something that this kernel does not know.
    Usage = 13,
    /// The machine lacks what the kernel needs.
    Environment = 14,
    /// Nothing was wrong, and too little could be looked at to say more.
    LittleSeen = 15,
}

/// Ends the VM.
pub(crate) fn exit(code: ExitCode) -> ! {
    console::flush();
    // SAFETY: the debug-exit port of pvir and QEMU ends the VM; elsewhere nobody listens there.
    unsafe { Port::<u32>::new(0xf4).write(code as u32) };
    // SAFETY: Cloud Hypervisor's sleep control register, value "S5"; QEMU takes it for status bits to clear.
    unsafe { Port::<u8>::new(0x600).write(0x34) };
    // SAFETY: QEMU's PM1a control register, value "S5".
    unsafe { Port::<u16>::new(0x604).write(0x2000) };
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// Resets the machine. Comes back where nothing listens at the reset register of a PC.
pub(crate) fn reset() {
    console::flush();
    // SAFETY: the reset register of a PC: it resets the machine, as asked for.
    unsafe { Port::<u8>::new(0xcf9).write(6) };
}

/// Ends the VM because the machine lacks something.
pub(crate) fn refuse(error: &dyn Display) -> ! {
    crate::println!("error: {error}");
    console::report::result("fail", |result| {
        result.display("error", error);
    });
    exit(ExitCode::Environment)
}
