//! The kernel tests itself and the machine, without pvir: processors, faults, ring 3, PCI and devices with
//! plain messages.

mod devices;
mod machine;

use crate::console::report;
use crate::exit::ExitCode;
use crate::println;
use core::fmt;
use pvir_test_kernel::cmdline::CommandLine;

/// What a check came to.
pub(super) enum Outcome {
    Passed,
    /// The machine has not what the check is about.
    Skipped(&'static str),
    Failed,
}

/// Prints and counts the outcomes.
pub(super) struct Checks {
    passed: u32,
    skipped: u32,
    failed: u32,
}

impl Checks {
    /// One line for a check, and an event.
    pub(super) fn record(&mut self, name: &str, outcome: &Outcome, detail: fmt::Arguments<'_>) {
        let (word, count) = match outcome {
            Outcome::Passed => ("ok", &mut self.passed),
            Outcome::Skipped(_) => ("skip", &mut self.skipped),
            Outcome::Failed => ("FAILED", &mut self.failed),
        };
        *count += 1;
        match outcome {
            Outcome::Skipped(reason) => println!("{word:<6} {name}: {reason}"),
            _ => println!("{word:<6} {name}: {detail}"),
        }
        report::event("check", |event| {
            event.str("name", name).str("outcome", word).display("detail", detail);
        });
    }

    /// A check that is right or wrong.
    pub(super) fn expect(&mut self, name: &str, right: bool, detail: fmt::Arguments<'_>) {
        let outcome = if right { Outcome::Passed } else { Outcome::Failed };
        self.record(name, &outcome, detail);
    }
}

/// Runs everything; `rounds=N` says how often each interrupt is raised.
pub(super) fn run(line: CommandLine<'static>) -> ExitCode {
    let rounds = match line.number("rounds") {
        Ok(rounds) => rounds.unwrap_or(10),
        Err(error) => {
            println!("error: {error}");
            return ExitCode::Usage;
        }
    };
    report::checkpoint("selftest");
    let mut checks = Checks { passed: 0, skipped: 0, failed: 0 };
    machine::faults(&mut checks);
    machine::ring3(&mut checks);
    machine::work_on_all(&mut checks);
    machine::handler(&mut checks);
    machine::interprocessor_interrupts(&mut checks, rounds);
    machine::every_vector(&mut checks);
    devices::run(&mut checks, rounds);

    let verdict = if checks.failed == 0 { "pass" } else { "fail" };
    println!(
        "selftest: {verdict}, {} passed, {} skipped, {} failed",
        checks.passed, checks.skipped, checks.failed
    );
    report::result(verdict, |result| {
        result.num("passed", checks.passed).num("skipped", checks.skipped).num("failed", checks.failed);
    });
    if checks.failed == 0 { ExitCode::Pass } else { ExitCode::Fail }
}
