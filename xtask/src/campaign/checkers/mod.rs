//! The libraries' unit tests under programs that watch memory: Miri, the compiler's sanitizers, and valgrind.
//!
//! Each part is the tests of one module, so that an interrupted campaign goes on, and so that the report says what was run
//! and what was not.

mod cargo_test;
mod tools;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Campaign;
use super::report::Report;
use cargo_test::{Outcome, Tests};
use tools::Tool;

pub(super) const MIRI: Campaign = Campaign {
    name: "miri",
    about: "the unit tests of the contract's crate, of the driver and of the host's library, as far as Miri can run them",
    run: |report, time| run(report, &tools::MIRI, time),
};

pub(super) const SANITIZE: [Campaign; 3] = [
    Campaign {
        name: "sanitize-address",
        about: "the unit tests of driver and host library with the address sanitizer (nightly)",
        run: |report, time| run(report, &tools::SANITIZERS[..1], time),
    },
    Campaign {
        name: "sanitize-leak",
        about: "the unit tests of the host's library with the leak sanitizer (nightly)",
        run: |report, time| run(report, &tools::SANITIZERS[1..2], time),
    },
    Campaign {
        name: "sanitize-thread",
        about: "the unit tests of driver and host library with the thread sanitizer (nightly)",
        run: |report, time| run(report, &tools::SANITIZERS[2..], time),
    },
];

pub(super) const VALGRIND: Campaign = Campaign {
    name: "valgrind",
    about: "the unit tests of the host's library under valgrind's memcheck",
    run: |report, time| run(report, &tools::VALGRIND, time),
};

fn run(report: &mut Report, tools: &[Tool], time: Duration) -> Result<()> {
    let ends = Instant::now() + time;
    report.head = ["tool", "package", "tests of", "passed", "what", "s"].map(str::to_owned).into();
    let mut failures = Vec::new();
    for tool in tools {
        if let Some(missing) = tool.missing() {
            report.note(format!("- **{} was not run**: {missing}.", tool.name));
            continue;
        }
        for package in tool.packages {
            let tests = Tests::new(tool, package.name);
            let mut late = Vec::new();
            for (group, names) in tests.groups(package.without)? {
                let part = format!("{} {} {group}", tool.name, package.name);
                if report.has_done(&part) {
                    continue;
                }
                let module = group.split("::").next().unwrap_or_default();
                if let Some((_, reason)) = package.skipped.iter().find(|(name, _)| *name == module) {
                    report.note(format!("- Not run: {part}, since {reason}."));
                    continue;
                }
                if Instant::now() >= ends {
                    late.push(group);
                    continue;
                }
                let started = Instant::now();
                let Outcome { passed, what } = tests.run(&names)?;
                let said = what.as_deref().unwrap_or("nothing found");
                let row = format!(
                    "| {} | {} | {group} | {passed} | {} | {} |",
                    tool.name,
                    package.name,
                    said.lines().next().unwrap_or_default().replace('|', "\\|"),
                    started.elapsed().as_secs()
                );
                report.add(&part, &row, what.is_none())?;
                failures.extend(what.map(|what| format!("{part}:\n{what}")));
            }
            if !late.is_empty() {
                let (tool, package, late) = (tool.name, package.name, late.join(", "));
                report.note(format!("- Not run, for the time was over: {tool} {package}: {late}."));
            }
            let left_out = package.without.iter();
            left_out.for_each(|(name, reason)| {
                report.note(format!("- Left out with {}: `{name}`, since {reason}.", tool.name));
            });
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n\n")) }
}
