//! Lines for programs: `@pvir {"event":...}`, one JSON object each, and checkpoints where the kernel waits for
//! whoever looks at it from outside.

use super::output::Output;
use super::with;
use crate::machine::cpu::usermode;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use pvir_test_kernel::cmdline::CommandLine;
use pvir_test_kernel::json::Object;

/// An object being written to the console.
pub(crate) type Event<'w> = Object<'w, Output>;

static CHECKPOINTS: AtomicBool = AtomicBool::new(false);

pub(super) fn init(command_line: CommandLine<'static>) {
    CHECKPOINTS.store(command_line.flag("checkpoints"), Ordering::Relaxed);
}

/// Writes an event with the fields that `build` adds. It has the console meanwhile: it must not print.
pub(crate) fn event(name: &str, build: impl FnOnce(&mut Event<'_>)) {
    let write = |out: &mut Output| -> fmt::Result {
        out.write_str("@pvir ")?;
        let mut object = Object::begin(&mut *out);
        object.str("event", name);
        build(&mut object);
        object.finish()?;
        out.write_char('\n')
    };
    // The way out does not fail; `fmt::Error` could only come from a `Display` of ours.
    let _ = with(|out| usermode::with_all_instructions(|| write(out)));
}

/// The last event: what it all came to (`pass` or `fail`).
pub(crate) fn result(verdict: &str, build: impl FnOnce(&mut Event<'_>)) {
    event("result", |object| {
        object.str("verdict", verdict);
        build(object);
    });
}

/// With `checkpoints` on the command line: says where the kernel stands and waits for one byte on COM1, for as
/// long as it takes, so that a program outside can look at a machine at rest.
pub(crate) fn checkpoint(name: &str) {
    if !CHECKPOINTS.load(Ordering::Relaxed) {
        return;
    }
    event("checkpoint", |object| {
        object.str("name", name);
    });
    received();
}

/// A checkpoint that is answered with a line of decimal numbers. `None` without `checkpoints`, or if the line has not as
/// many.
pub(crate) fn ask<const N: usize>(name: &str) -> Option<[u64; N]> {
    if !CHECKPOINTS.load(Ordering::Relaxed) {
        return None;
    }
    event("checkpoint", |object| {
        object.str("name", name);
    });
    let (mut numbers, mut at, mut begun) = ([0_u64; N], 0, false);
    loop {
        match received() {
            digit @ b'0'..=b'9' => {
                let number = numbers.get_mut(at)?;
                *number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                begun = true;
            }
            end => {
                at += usize::from(core::mem::take(&mut begun));
                if end == b'\n' {
                    return (at == N).then_some(numbers);
                }
            }
        }
    }
}

/// The next byte on COM1, waited for.
fn received() -> u8 {
    loop {
        if let Some(byte) = with(Output::receive) {
            return byte;
        }
        core::hint::spin_loop();
    }
}
