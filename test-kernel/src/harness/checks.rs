//! Checks: one line and one event each, counted.

use crate::machine::console::report;
use crate::machine::exit::ExitCode;
use crate::println;
use core::fmt;

/// What a check came to.
pub(crate) enum Outcome {
    Passed,
    /// The machine has not what the check is about.
    Skipped(&'static str),
    Failed,
}

/// Prints and counts the outcomes.
pub(crate) struct Checks {
    passed: u32,
    skipped: u32,
    failed: u32,
}

impl Checks {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { passed: 0, skipped: 0, failed: 0 }
    }

    /// One line for a check, and an event.
    pub(crate) fn record(&mut self, name: &str, outcome: &Outcome, detail: fmt::Arguments<'_>) {
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
    pub(crate) fn expect(&mut self, name: &str, right: bool, detail: fmt::Arguments<'_>) {
        let outcome = if right { Outcome::Passed } else { Outcome::Failed };
        self.record(name, &outcome, detail);
    }

    /// Whether none has failed.
    pub(crate) const fn all_passed(&self) -> bool {
        self.failed == 0
    }

    /// The last line and the result, and what the kernel exits with.
    pub(crate) fn finish(self, what: &str) -> ExitCode {
        let Self { passed, skipped, failed } = self;
        let verdict = if failed == 0 { "pass" } else { "fail" };
        println!("{what}: {verdict}, {passed} passed, {skipped} skipped, {failed} failed");
        report::result(verdict, |result| {
            result.num("passed", passed).num("skipped", skipped).num("failed", failed);
        });
        if failed == 0 { ExitCode::Pass } else { ExitCode::Fail }
    }
}
