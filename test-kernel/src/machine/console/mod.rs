//! The console: text for people, log lines, and machine-readable lines, all by one way out.

mod lines;
mod logger;
mod output;
pub(crate) mod report;
mod serial;

use crate::machine::cpu::usermode;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use output::Output;
use pvir_test_kernel::cmdline::CommandLine;
use spin::{Mutex, MutexGuard};
use x86_64::instructions::interrupts;

static CONSOLE: Mutex<Output> = Mutex::new(Output::serial());
/// Set when the kernel is about to end abnormally: whoever holds the lock will not come back.
static STOLEN: AtomicBool = AtomicBool::new(false);

/// Prints a line on the console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::machine::console::print_line(format_args!($($argument)*)) };
}

/// Prepares the way out and the log, as the command line wants it: `log=debug`, `checkpoints`.
pub(crate) fn init(command_line: CommandLine<'static>) {
    CONSOLE.lock().init();
    logger::init(command_line.value("log"));
    report::init(command_line);
}

/// What [`println!`] calls.
pub(crate) fn print_line(arguments: fmt::Arguments<'_>) {
    // The way out does not fail; `fmt::Error` could only come from a `Display` of ours.
    let _ = with(|out| {
        usermode::with_all_instructions(|| out.write_fmt(arguments).and_then(|()| out.write_char('\n')))
    });
}

/// Waits until everything is out.
pub(crate) fn flush() {
    with(Output::flush);
}

/// Takes the console from whoever has it, for the last words of a kernel that crashes. What that one has written of its
/// line goes out before them.
pub(crate) fn steal() {
    STOLEN.store(true, Ordering::Release);
    lines::put_out();
}

/// Gives `f` the console for itself, without interruption.
fn with<R>(f: impl FnOnce(&mut Output) -> R) -> R {
    interrupts::without_interrupts(|| {
        let mut held = lock();
        let mut last_words = Output::serial();
        let out = held.as_deref_mut().unwrap_or(&mut last_words);
        let result = f(out);
        out.end();
        result
    })
}

fn lock() -> Option<MutexGuard<'static, Output>> {
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
