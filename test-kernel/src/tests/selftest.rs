//! The kernel tests itself and the machine, without pvir: processors, faults, ring 3, PCI and devices with
//! plain messages.

mod devices;
mod machine;
mod xmm;

use crate::harness::checks::{Checks, Outcome};
use crate::harness::setup;
use crate::machine::console::report;
use crate::machine::exit::ExitCode;
use pvir_test_kernel::cmdline::CommandLine;

/// Runs everything; `rounds=N` says how often each interrupt is raised.
pub(super) fn run(line: CommandLine<'static>) -> Result<ExitCode, ExitCode> {
    let rounds = setup::number(line, "rounds", 10)?;
    report::checkpoint("selftest");
    let mut checks = Checks::new();
    machine::faults(&mut checks);
    machine::ring3(&mut checks);
    machine::work_on_all(&mut checks);
    machine::handler(&mut checks);
    machine::interprocessor_interrupts(&mut checks, rounds);
    machine::every_vector(&mut checks);
    xmm::kept(&mut checks);
    devices::run(&mut checks, rounds);
    Ok(checks.finish("selftest"))
}
