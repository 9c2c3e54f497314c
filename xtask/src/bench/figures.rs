//! Samples by what they are of, and their median and spread.

use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::Histogram;
use super::run_figures::{Delivery, Round, RunFigures, Step};
use super::what::{Action, Subject, Way};

/// Median and spread of samples, in cycles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    /// A quarter of the samples is below `low`, and one above `high`.
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) samples: u64,
    /// Exits to user space that the guest caused, by accesses to the table and calls.
    pub(super) exits: f64,
}

#[derive(Debug, Default)]
struct Series {
    cycles: Vec<f64>,
    exits: f64,
}

/// Interrupts of all runs together, so that a run with an outlier has no more weight than another.
#[derive(Debug, Default)]
struct Pool {
    together: u64,
    histogram: Histogram,
}

/// Everything measured.
#[derive(Debug, Default)]
pub(super) struct Figures {
    series: BTreeMap<(Subject, Action, Way), Series>,
    pools: BTreeMap<(Subject, Action, Way), Pool>,
    runs: BTreeMap<Subject, u32>,
}

impl Figures {
    /// Adds a run. Its first round has warmed up, where there is another.
    pub(super) fn add(&mut self, subject: &Subject, way: Way, run: &RunFigures) {
        if way == Way::Direct {
            *self.runs.entry(subject.clone()).or_default() += 1;
        }
        let cold = run.rounds.len() > 1;
        for round in run.rounds.iter().filter(|round| round.round > 0 || !cold) {
            self.add_round(subject, way, round);
        }
        if let Some(first) = run.first {
            self.push(subject, Action::FirstInterrupt, way, first.cycles as f64, 0.0);
        }
        for (action, delivery) in
            [(Action::Own, &run.own), (Action::Other, &run.other), (Action::Interval, &run.throughput)]
        {
            let Some(Delivery { together, histogram }) = delivery else { continue };
            let pool = self.pools.entry((subject.clone(), action, way)).or_default();
            pool.together = *together;
            pool.histogram.add(histogram);
        }
    }

    fn add_round(&mut self, subject: &Subject, way: Way, round: &Round) {
        let whole = [
            (Action::SetUp, round.set_up),
            (Action::RetargetAll, round.retarget_all),
            (Action::TearDown, round.tear_down),
        ];
        let single = [
            (Action::RetargetOne, round.retarget_one),
            (Action::Mask, round.mask),
            (Action::Unmask, round.unmask),
        ];
        let parts = whole.map(|(action, step)| (action, step, 1.0));
        let singles = single.map(|(action, step)| (action, step, step.entries.max(1) as f64));
        for (action, Step { cycles, accesses, calls, .. }, by) in parts.into_iter().chain(singles) {
            self.push(subject, action, way, cycles as f64 / by, (accesses + calls) as f64 / by);
        }
    }

    fn push(&mut self, subject: &Subject, action: Action, way: Way, cycles: f64, exits: f64) {
        let series = self.series.entry((subject.clone(), action, way)).or_default();
        series.cycles.push(cycles);
        series.exits = exits;
    }

    /// Every subject, in order.
    pub(super) fn subjects(&self) -> Vec<&Subject> {
        let mut subjects: Vec<&Subject> = self.series.keys().map(|(subject, ..)| subject).collect();
        subjects.dedup();
        subjects
    }

    /// How often each way was run.
    pub(super) fn runs(&self, subject: &Subject) -> u32 {
        self.runs.get(subject).copied().unwrap_or_default()
    }

    /// Median and spread, if it was measured.
    pub(super) fn get(&self, subject: &Subject, action: Action, way: Way) -> Option<Spread> {
        match action {
            Action::Own | Action::Other | Action::Interval => {
                let Pool { together, histogram } = self.pools.get(&(subject.clone(), action, way))?;
                pooled(histogram, *together, [0.25, 0.5, 0.75])
            }
            Action::Tail => pooled(&self.latency(subject, way)?, 1, [0.99; 3]),
            _ => {
                let Series { cycles, exits } = self.series.get(&(subject.clone(), action, way))?;
                let mut sorted = cycles.clone();
                sorted.sort_by(f64::total_cmp);
                let [low, median, high] = [0.25, 0.5, 0.75].map(|part| quantile(&sorted, part));
                Some(Spread { median, low, high, samples: sorted.len() as u64, exits: *exits })
            }
        }
    }

    /// How many times what the direct way takes another one takes.
    pub(super) fn ratio(&self, subject: &Subject, action: Action, way: Way) -> Option<f64> {
        let direct = self.get(subject, action, Way::Direct)?;
        Some(self.get(subject, action, way)?.median / direct.median)
    }

    /// How long interrupts took that were raised one by one, on whatever processor.
    pub(super) fn latency(&self, subject: &Subject, way: Way) -> Option<Histogram> {
        let of = |action| Some(&self.pools.get(&(subject.clone(), action, way))?.histogram);
        let own = of(Action::Own)?.clone();
        Some(match of(Action::Other) {
            Some(other) => own.with(other),
            None => own,
        })
    }
}

/// Quantiles of interrupts, for each of so many that were raised together.
fn pooled(histogram: &Histogram, together: u64, parts: [f64; 3]) -> Option<Spread> {
    let each = |part| Some(histogram.quantile(part)? / together.max(1) as f64);
    let [low, median, high] = parts.map(each);
    Some(Spread { median: median?, low: low?, high: high?, samples: histogram.total(), exits: 0.0 })
}

/// What this part of the samples, which are sorted and not none, does not exceed; between two of them in proportion.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, reason = "between two places of the list")]
    let [below, above] = [place.floor(), place.ceil()].map(|place| sorted[place as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::super::run_figures::Once;
    use super::super::what::Testbed;
    use super::*;

    const SUBJECT: Subject = Subject { place: Testbed::Kvm, device: "d", vectors: 4 };

    fn round(round: u32, cycles: u64) -> Round {
        let step = Step { cycles, accesses: 36, calls: 0, entries: 4 };
        Round {
            vectors: 4,
            round,
            set_up: step,
            retarget_one: step,
            retarget_all: step,
            mask: step,
            unmask: step,
            tear_down: step,
        }
    }

    #[test]
    fn the_first_round_warms_up_and_the_median_is_of_the_others() {
        let mut figures = Figures::default();
        let rounds = [9000, 100, 400, 200].into_iter().zip(0..).map(|(cycles, n)| round(n, cycles)).collect();
        let run = RunFigures { rounds, first: Some(Once { cycles: 7 }), ..RunFigures::default() };
        figures.add(&SUBJECT, Way::Trapped, &run);
        let spread = figures.get(&SUBJECT, Action::SetUp, Way::Trapped).unwrap();
        assert_eq!((spread.low, spread.median, spread.high, spread.samples), (150.0, 200.0, 300.0, 3));
        assert_eq!(spread.exits, 36.0);
        let first = figures.get(&SUBJECT, Action::FirstInterrupt, Way::Trapped).unwrap();
        assert_eq!((first.median, first.samples), (7.0, 1), "cold is how it is meant");
        assert_eq!(figures.get(&SUBJECT, Action::Mask, Way::Trapped).unwrap().median, 50.0);
        assert_eq!(figures.ratio(&SUBJECT, Action::SetUp, Way::Trapped), None, "nothing to compare with");
    }
    #[test]
    fn interrupts_of_all_runs_are_pooled() {
        let mut figures = Figures::default();
        for (together, histogram) in [(4, vec![4096, 90, 8192, 9]), (4, vec![1_048_576, 1])] {
            let delivery = Some(Delivery { together, histogram });
            let (own, other, throughput) = (delivery.clone(), delivery.clone(), delivery);
            figures.add(&SUBJECT, Way::Qemu, &RunFigures { own, other, throughput, ..RunFigures::default() });
        }
        let [own, tail, burst] = [Action::Own, Action::Tail, Action::Interval]
            .map(|action| figures.get(&SUBJECT, action, Way::Qemu).unwrap());
        assert_eq!((own.median.floor(), own.samples), (1024.0 + 35.0, 100));
        assert_eq!((tail.median, tail.low, tail.high, tail.samples), (8704.0, 8704.0, 8704.0, 200));
        assert_eq!(burst.median, own.median);
    }
}
