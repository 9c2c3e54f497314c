//! What the kernel can do, chosen by a word on the command line.

mod bench;
mod blocked;
mod checks;
mod compat;
mod conduits;
mod counts;
mod crash;
mod direct;
mod dynamic;
mod fleet;
mod ims;
mod limits;
mod line;
mod multi;
mod quotas;
mod refusals;
mod routings;
mod scale;
mod selftest;
mod sequences;
mod setup;
mod several;
mod trapped;

use crate::boot::BootInfo;
use crate::conformance;
use crate::console::report;
use crate::exit::ExitCode;
use crate::println;
use pvir_test_kernel::cmdline::CommandLine;

/// What a word of the command line stands for. The error, which was told, is why it did not begin.
type Scenario = fn(CommandLine<'static>) -> Result<ExitCode, ExitCode>;

/// Does what the command line asks for.
pub(crate) fn run(boot: &BootInfo) -> ExitCode {
    let line = boot.command_line;
    let scenarios: [(&str, Scenario); 18] = [
        ("conformance", conformance::run),
        ("bench", bench::run),
        ("direct", direct::run),
        ("refusals", refusals::run),
        ("blocked", blocked::run),
        ("counts", counts::run),
        ("ims", ims::run),
        ("multi", multi::run),
        ("routings", routings::run),
        ("dynamic", dynamic::run),
        ("scale", scale::run),
        ("limits", limits::run),
        ("sequences", sequences::run),
        ("conduits", conduits::run),
        ("quotas", quotas::run),
        ("several", several::run),
        ("selftest", selftest::run),
        ("trapped", trapped::run),
    ];
    if let Some((_, scenario)) = scenarios.iter().find(|(name, _)| line.flag(name)) {
        return scenario(line).unwrap_or_else(|why_not| why_not);
    }
    if let Some(how) = line.value("crash") {
        return crash::run(how);
    }
    println!("nothing to do (help: one of these on the command line)");
    for (name, _) in scenarios {
        println!("  {name}");
    }
    report::result("fail", |result| {
        result.str("error", "nothing to do");
    });
    ExitCode::Usage
}
