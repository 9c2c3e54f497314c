//! Shows steps as they go, and the sum at the end.

use std::io::{IsTerminal, stdout};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::Step;
use super::verdict::{Counts, Verdict};

#[derive(Default)]
pub(super) struct Report {
    counts: Counts,
    failed: Vec<&'static str>,
    spinner: Option<ProgressBar>,
}

impl Report {
    pub(super) fn start(&mut self, step: &Step) {
        if stdout().is_terminal() {
            let spinner = ProgressBar::new_spinner().with_message(format!("{}: {}", step.name, step.about));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            self.spinner = Some(spinner);
        }
    }

    pub(super) fn end(&mut self, step: &Step, result: Result<Verdict>, took: Duration) -> ControlFlow<()> {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
        let (word, note, counts) = match result {
            Ok(Verdict::Passed(note)) => ("ok", note, Counts { passed: 1, ..Counts::default() }),
            Ok(Verdict::Skipped(missing)) => {
                ("SKIP", format!("missing: {missing}"), Counts { skipped: 1, ..Counts::default() })
            }
            Ok(Verdict::Counted(counts)) => {
                (if counts.failed == 0 { "ok" } else { "FAIL" }, counts.to_string(), counts)
            }
            Ok(Verdict::Interrupted) => {
                println!("interrupted in {}", step.name);
                return ControlFlow::Break(());
            }
            Err(error) => ("FAIL", format!("{error:#}"), Counts { failed: 1, ..Counts::default() }),
        };
        let note = if note.is_empty() { step.about.to_owned() } else { format!("{}: {note}", step.about) };
        println!("{word:<5} {:<24} {:>6.1} s  {note}", step.name, took.as_secs_f32());
        if counts.failed > 0 {
            self.failed.push(step.name);
        }
        self.counts += counts;
        ControlFlow::Continue(())
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
}
