//! The console: text for people, log lines, and machine-readable lines, all on COM1.

mod logger;
pub(crate) mod report;
mod serial;

use crate::machine::cpu::usermode;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use pvir_test_kernel::cmdline::CommandLine;
use spin::{Mutex, MutexGuard};
use x86_64::instructions::interrupts;

static CONSOLE: Mutex<serial::Serial> = Mutex::new(serial::Serial::new());
/// Set when the kernel is about to end abnormally: whoever holds the lock will not come back.
static STOLEN: AtomicBool = AtomicBool::new(false);

/// Prints a line on the console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::machine::console::print_line(format_args!($($argument)*)) };
}

/// Prepares the port and the log, as the command line wants it: `log=debug`, `checkpoints`.
pub(crate) fn init(command_line: CommandLine<'static>) {
    CONSOLE.lock().init();
    logger::init(command_line.value("log"));
    report::init(command_line);
}

/// What [`println!`] calls.
pub(crate) fn print_line(arguments: fmt::Arguments<'_>) {
    // A serial port does not fail; `fmt::Error` could only come from a `Display` of ours.
    let _ = with(|out| {
        usermode::with_all_instructions(|| out.write_fmt(arguments).and_then(|()| out.write_char('\n')))
    });
}

/// Waits until everything is out.
pub(crate) fn flush() {
    with(serial::Serial::flush);
}

/// Takes the console from whoever has it, for the last words of a kernel that crashes.
pub(crate) fn steal() {
    STOLEN.store(true, Ordering::Release);
}

/// Gives `f` the console for itself, without interruption.
fn with<R>(f: impl FnOnce(&mut serial::Serial) -> R) -> R {
    interrupts::without_interrupts(|| match lock() {
        Some(mut console) => f(&mut console),
        None => f(&mut serial::Serial::new()),
    })
}

fn lock() -> Option<MutexGuard<'static, serial::Serial>> {
    loop {
        if let Some(console) = CONSOLE.try_lock() {
            return Some(console);
        }
        if STOLEN.load(Ordering::Acquire) {
            return None;
        }
        core::hint::spin_loop();
    }
}
