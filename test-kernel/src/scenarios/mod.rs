//! What the kernel can do, chosen by a word on the command line.

mod compat;
mod crash;
mod selftest;

use crate::boot::BootInfo;
use crate::console::report;
use crate::exit::ExitCode;
use crate::println;

/// Does what the command line asks for.
pub(crate) fn run(boot: &BootInfo) -> ExitCode {
    let line = boot.command_line;
    if line.flag("selftest") {
        return selftest::run(line);
    }
    if let Some(how) = line.value("crash") {
        return crash::run(how);
    }
    println!("nothing to do (help: give `selftest` on the command line)");
    report::result("fail", |result| {
        result.str("error", "nothing to do");
    });
    ExitCode::Usage
}
