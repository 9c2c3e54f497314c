//! Shows steps as they end, and the sum at last.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{IsTerminal, stdout};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::verdict::{Counts, Verdict};
use super::{Finding, Title};

#[derive(Default)]
pub(super) struct Report {
    counts: Counts,
    failed: Vec<&'static str>,
    /// One line for each test that runs, on a terminal.
    running: Option<MultiProgress>,
}

impl Report {
    /// Shows that something runs, until the answer is given back.
    pub(super) fn start(&mut self, name: &str, about: &str) -> Option<ProgressBar> {
        if !stdout().is_terminal() {
            return None;
        }
        let stdout = || MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let running = self.running.get_or_insert_with(stdout);
        let spinner = running.add(ProgressBar::new_spinner().with_message(format!("{name}: {about}")));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(120));
        Some(spinner)
    }

    /// The lines of a batch: what it answers, and for the rest why it did not.
    pub(super) fn end_batch(
        &mut self,
        spinner: Option<ProgressBar>,
        cases: &[Title],
        result: Result<Vec<Finding>>,
        took: Duration,
    ) -> ControlFlow<()> {
        let mut spinner = spinner;
        let (findings, error) = match result {
            Ok(findings) => (findings, "it was not run".to_owned()),
            Err(error) => (Vec::new(), format!("{error:#}")),
        };
        let mut findings: BTreeMap<String, Finding> =
            findings.into_iter().map(|finding| (finding.name.clone(), finding)).collect();
        let inside: Duration = findings.values().map(|finding| finding.took).sum();
        for (position, case) in cases.iter().enumerate() {
            let spinner = spinner.take();
            match findings.remove(case.0) {
                Some(finding) => self.end(spinner, *case, finding.result, finding.took)?,
                // the whole story once is enough
                None if position == 0 => self.end(spinner, *case, Err(anyhow!("{error}")), Duration::ZERO)?,
                None => {
                    let first = error.lines().next().unwrap_or_default();
                    self.end(spinner, *case, Err(anyhow!("{first}")), Duration::ZERO)?;
                }
            }
        }
        let around = took.saturating_sub(inside).as_secs_f32();
        self.print(format!("      {:<24} {around:>6.1} s  around the {} above", "machine", cases.len()));
        ControlFlow::Continue(())
    }

    pub(super) fn end(
        &mut self,
        spinner: Option<ProgressBar>,
        (name, about): Title,
        result: Result<Verdict>,
        took: Duration,
    ) -> ControlFlow<()> {
        if let Some(spinner) = spinner {
            spinner.finish_and_clear();
        }
        let (word, note, counts) = match result {
            Ok(Verdict::Passed(note)) => ("ok", note, Counts::PASSED),
            Ok(Verdict::Measured { note, table }) => {
                self.print(format!("\n{table}"));
                ("ok", note, Counts::PASSED)
            }
            Ok(Verdict::Skipped(missing)) => {
                ("SKIP", format!("missing: {missing}"), Counts { skipped: 1, ..Counts::default() })
            }
            Ok(Verdict::Counted(counts)) => {
                (if counts.failed == 0 { "ok" } else { "FAIL" }, counts.to_string(), counts)
            }
            Ok(Verdict::Interrupted) => {
                self.print(format!("interrupted in {name}"));
                return ControlFlow::Break(());
            }
            Err(error) => ("FAIL", format!("{error:#}"), Counts { failed: 1, ..Counts::default() }),
        };
        let note = if note.is_empty() { about.to_owned() } else { format!("{about}: {note}") };
        self.print(format!("{word:<5} {name:<24} {:>6.1} s  {note}", took.as_secs_f32()));
        if counts.failed > 0 {
            self.failed.push(name);
        }
        self.counts += counts;
        ControlFlow::Continue(())
    }

    /// How many tests ended in which way so far.
    #[cfg(test)]
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The last line, and what the program's status is.
    pub(super) fn finish(&self, no_skip: bool) -> ExitCode {
        if !self.failed.is_empty() {
            println!("failed: {}", self.failed.join(", "));
        }
        println!("{}", self.counts);
        let bad = self.counts.failed > 0 || (no_skip && self.counts.skipped > 0);
        if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Prints above the lines of what runs.
    fn print(&self, text: impl Display) {
        match &self.running {
            Some(running) => running.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }
}
