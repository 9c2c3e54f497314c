//! What the kernel can do, chosen by a word on the command line.

mod blocked;
mod checks;
mod compat;
mod counts;
mod crash;
mod direct;
mod refusals;
mod selftest;

use crate::boot::BootInfo;
use crate::conformance;
use crate::console::report;
use crate::exit::ExitCode;
use crate::println;
use pvir_test_kernel::cmdline::CommandLine;

/// What a word of the command line stands for.
type Scenario = fn(CommandLine<'static>) -> ExitCode;

/// Does what the command line asks for.
pub(crate) fn run(boot: &BootInfo) -> ExitCode {
    let line = boot.command_line;
    let scenarios: [(&str, Scenario); 6] = [
        ("conformance", conformance::run),
        ("direct", direct::run),
        ("refusals", refusals::run),
        ("blocked", blocked::run),
        ("counts", counts::run),
        ("selftest", selftest::run),
    ];
    if let Some((_, scenario)) = scenarios.iter().find(|(name, _)| line.flag(name)) {
        return scenario(line);
    }
    if let Some(how) = line.value("crash") {
        return crash::run(how);
    }
    println!(
        "nothing to do (help: give `conformance`, `direct`, `refusals`, `blocked`, `counts` or `selftest` on the command line)"
    );
    report::result("fail", |result| {
        result.str("error", "nothing to do");
    });
    ExitCode::Usage
}
