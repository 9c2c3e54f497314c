//! Several tests at once: each lane takes the next that nobody has taken, in the order of the list.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::report::Report;
use super::{Test, Title};

/// Runs the lines that were chosen of each test; none if the user interrupted it.
pub(super) fn run(chosen: &[(&Test, Vec<Title>)], jobs: usize) -> Option<Report> {
    let suite = Suite {
        chosen,
        next: AtomicUsize::new(0),
        interrupted: AtomicBool::new(false),
        report: Mutex::default(),
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| suite.lane());
        }
    });
    let interrupted = suite.interrupted.into_inner();
    (!interrupted).then(|| suite.report.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Suite<'a> {
    chosen: &'a [(&'a Test, Vec<Title>)],
    /// The first that no lane has taken.
    next: AtomicUsize,
    interrupted: AtomicBool,
    report: Mutex<Report>,
}

impl Suite<'_> {
    fn lane(&self) {
        while let Some((test, titles)) = self.chosen.get(self.next.fetch_add(1, Ordering::SeqCst)) {
            if self.interrupted.load(Ordering::SeqCst) {
                return;
            }
            if self.one(test, titles).is_break() {
                self.interrupted.store(true, Ordering::SeqCst);
            }
        }
    }

    /// The lines of one test that were chosen.
    fn one(&self, test: &Test, titles: &[Title]) -> ControlFlow<()> {
        let steps = match test {
            Test::One(step) => std::slice::from_ref(step),
            Test::InTurn(steps) => steps,
            Test::Many(batch) => {
                let names: Vec<&str> = titles.iter().map(|(name, _)| *name).collect();
                let spinner = self.report().start(&names.join(", "), "");
                let started = Instant::now();
                let result = (batch.run)(&names);
                return self.report().end_batch(spinner, titles, result, started.elapsed());
            }
        };
        for step in steps.iter().filter(|step| titles.contains(&step.title())) {
            let spinner = self.report().start(step.name, step.about);
            let started = Instant::now();
            let result = (step.run)();
            self.report().end(spinner, step.title(), result, started.elapsed())?;
        }
        ControlFlow::Continue(())
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::{Batch, Counts, Finding, Step, Verdict};
    use std::sync::Barrier;
    use std::time::Duration;

    const ABOUT: &str = "about";

    /// Passes as soon as another test is there as well.
    fn meet() -> anyhow::Result<Verdict> {
        static MEETING: Barrier = Barrier::new(2);
        MEETING.wait();
        Ok(Verdict::passed())
    }

    fn step(name: &'static str, run: fn() -> anyhow::Result<Verdict>) -> Step {
        Step { name, about: ABOUT, run }
    }

    fn counts(tests: &[Test], jobs: usize) -> Option<Counts> {
        let chosen: Vec<_> = tests.iter().map(|test| (test, test.titles())).collect();
        run(&chosen, jobs).map(|report| report.counts())
    }

    #[test]
    fn tests_run_at_once_and_all_are_counted() {
        let batch = Batch {
            cases: &[("b/one", ABOUT), ("b/two", ABOUT)],
            run: |names| {
                let finding = |name: &&str| Finding {
                    name: (*name).to_owned(),
                    result: Ok(Verdict::passed()),
                    took: Duration::ZERO,
                };
                Ok(names.iter().map(finding).collect())
            },
        };
        let failing = step("a/failing", || anyhow::bail!("no"));
        let in_turn = Test::InTurn(vec![step("a/one", meet), failing]);
        let tests = [in_turn, Test::One(step("a/other", meet)), Test::Many(batch)];
        assert_eq!(counts(&tests, 2), Some(Counts { passed: 4, failed: 1, skipped: 0 }));
    }

    #[test]
    fn an_interrupt_ends_all() {
        let tests = [
            Test::One(step("a/interrupted", || Ok(Verdict::Interrupted))),
            Test::One(step("a/never", || unreachable!("it was interrupted"))),
        ];
        assert_eq!(counts(&tests, 1), None);
    }
}
