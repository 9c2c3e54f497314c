//! The results, in the Test Anything Protocol (version 14, testanything.org), and one event each.

use super::verdict::{Finding, Verdict};
use crate::machine::console::report;
use crate::machine::exit::ExitCode;
use crate::println;
use pvir_test_kernel::statements::{Kind, Statement};

/// Prints and counts.
pub(super) struct Tap {
    number: u32,
    kept: u32,
    broken: u32,
    skipped: u32,
    hidden: u32,
}

impl Tap {
    /// Prints the plan of so many tests.
    pub(super) fn begin(tests: usize) -> Self {
        println!("TAP version 14");
        println!("1..{tests}");
        Self { number: 0, kept: 0, broken: 0, skipped: 0, hidden: 0 }
    }

    /// One line, its reason if there is one, and an event.
    pub(super) fn report(&mut self, statement: &Statement, verdict: &Verdict) {
        self.number += 1;
        let Statement { id, title, kind } = statement;
        let number = self.number;
        let (outcome, detail) = match (kind, verdict) {
            (Kind::NotObservable(reason), _) => {
                self.hidden += 1;
                println!("ok {number} - {id} {title} # SKIP not observable by a guest: {reason}");
                ("hidden", *reason)
            }
            (_, Ok(())) => {
                self.kept += 1;
                println!("ok {number} - {id} {title}");
                ("ok", "")
            }
            (_, Err(Finding::CannotShow(reason))) => {
                self.skipped += 1;
                println!("ok {number} - {id} {title} # SKIP {reason}");
                ("skip", *reason)
            }
            (_, Err(Finding::Wrong(words))) => {
                let what = words.as_str();
                self.broken += 1;
                println!("not ok {number} - {id} {title}");
                println!("  ---");
                println!("  message: \"{}\"", Quoted(what));
                println!("  ...");
                ("FAILED", what)
            }
        };
        report::event("statement", |event| {
            event.str("id", id).str("outcome", outcome).str("detail", detail);
        });
    }

    /// The summary, and what the kernel exits with.
    pub(super) fn finish(self) -> ExitCode {
        let Self { number, kept, broken, skipped, hidden } = self;
        println!(
            "# statements and statuses of the page: {number}, judged: {} ({kept} ok, {broken} not ok), skipped: \
             {skipped}, not observable by a guest: {hidden}",
            kept + broken
        );
        // A host that refuses everything, or a machine without a device, breaks nothing and shows nothing.
        let little = kept < skipped;
        if broken == 0 && little {
            println!("# less than half of what a guest can observe was judged: this says little of the host");
        }
        let (verdict, code) = match (broken, little) {
            (0, false) => ("pass", ExitCode::Pass),
            (0, true) => ("little", ExitCode::LittleSeen),
            _ => ("fail", ExitCode::Fail),
        };
        report::result(verdict, |result| {
            result
                .num("statements", number)
                .num("passed", kept)
                .num("failed", broken)
                .num("skipped", skipped)
                .num("hidden", hidden);
        });
        code
    }
}

/// Text between double quotes of YAML.
struct Quoted<'t>(&'t str);

impl core::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            c => write!(f, "{c}"),
        })
    }
}
