//! Ways to crash, to see that each ends the VM with a report and a code of its own: `crash=panic` and so on.

#![expect(unsafe_code, reason = "does on purpose what must not be done")]

use crate::machine::exit::ExitCode;
use crate::println;
use core::arch::asm;

/// Crashes as asked for; comes back only from a name it does not know.
pub(crate) fn run(how: &str) -> ExitCode {
    match how {
        "panic" => panic(),
        "undefined" => {
            // SAFETY: it ends the kernel, as asked for.
            unsafe { asm!("ud2", options(noreturn)) }
        }
        "page" => {
            // SAFETY: nothing is mapped there: it ends the kernel, as asked for.
            unsafe { asm!("mov rax, [rdi]", in("rdi") (1_u64 << 47) - 4096, out("rax") _, options(nostack)) };
        }
        "triple" => {
            let nothing = [0_u8; 10];
            // SAFETY: with no interrupt table, the next exception ends the machine, as asked for.
            unsafe { asm!("lidt [{}]", "ud2", in(reg) &raw const nothing, options(noreturn)) }
        }
        _ => println!("error: crash={how} is not known (help: panic, undefined, page or triple)"),
    }
    ExitCode::Usage
}

#[expect(clippy::panic, reason = "asked for")]
fn panic() -> ! {
    panic!("asked for on the command line")
}
