//! Says what a long step is and why it is taken: a spinner on a terminal, plain lines elsewhere.

use std::fmt::Display;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Runs `work`, showing `what` (and `why`, in brackets) while it lasts, and the time that it took.
pub(crate) fn step<T>(what: impl Display, why: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let spinner = if stderr().is_terminal() {
        let spinner = ProgressBar::new_spinner().with_message(format!("{what} ({why})"));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(120));
        Some(spinner)
    } else {
        eprintln!("{what} ({why})");
        None
    };
    let result = work();
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    let outcome = if result.is_ok() { "done" } else { "failed" };
    eprintln!("{what}: {outcome} in {:.1} s", started.elapsed().as_secs_f32());
    result
}
