//! What was aimed at, beside what was reached.

use serde::Serialize;

use super::figures::Figures;
use super::lab::VECTORS;
use super::what::{Action, Subject, Testbed, Way};

/// One aim.
#[derive(Debug, Serialize)]
pub(super) struct Aim {
    pub(super) what: String,
    pub(super) aim: f64,
    pub(super) reached: f64,
    /// Whether less is better.
    pub(super) at_most: bool,
}

impl Aim {
    pub(super) fn is_met(&self) -> bool {
        if self.at_most { self.reached <= self.aim } else { self.reached >= self.aim }
    }
}

/// At least so many times what pvir takes.
const AGAINST_QEMU: [(Action, f64); 4] =
    [(Action::SetUp, 10.0), (Action::RetargetAll, 10.0), (Action::Mask, 200.0), (Action::Unmask, 200.0)];
const AGAINST_TRAPPING: [(Action, f64); 2] = [(Action::SetUp, 30.0), (Action::RetargetAll, 30.0)];
/// At most so many times what another way takes: the path of an interrupt is the same in the kernel.
const DELIVERY: [Action; 3] = [Action::Own, Action::Other, Action::Interval];
const WITHIN_NOISE: f64 = 1.25;
const LARGE: [u32; 2] = [256, 2048];
/// Time per vector of the larger over the smaller.
const GROWTH: (u32, u32, f64) = (2048, 64, 1.2);

/// All that the figures show.
pub(super) fn evaluate(figures: &Figures) -> Vec<Aim> {
    let mut aims = Vec::new();
    for subject in figures.subjects() {
        let (way, wanted): (Way, &[(Action, f64)]) = match subject.place {
            Testbed::Lab if is_whole(subject) => (Way::Qemu, &AGAINST_QEMU),
            Testbed::Kvm if LARGE.contains(&subject.vectors) => (Way::Trapped, &AGAINST_TRAPPING),
            Testbed::Kvm | Testbed::Lab => continue,
        };
        for &(action, aim) in wanted {
            if let Some(reached) = figures.ratio(subject, action, way) {
                let (name, device, vectors) = (action.name(), subject.device, subject.vectors);
                let what = format!("{device}, {vectors} vectors: {name}, {} / direct", way.name());
                aims.push(Aim { what, aim, reached, at_most: false });
            }
        }
        aims.extend(delivery(figures, subject));
    }
    aims.extend(growth(figures));
    aims
}

/// Whether it is about all vectors of a device of the lab.
pub(super) fn is_whole(subject: &Subject) -> bool {
    VECTORS.contains(&(subject.device, subject.vectors))
}

fn delivery(figures: &Figures, subject: &Subject) -> Vec<Aim> {
    let pairs = DELIVERY.into_iter().flat_map(|action| [Way::Trapped, Way::Qemu].map(|way| (action, way)));
    pairs
        .filter_map(|(action, way)| {
            let reached = figures.ratio(subject, action, way)?.recip();
            let (name, device, vectors) = (action.name(), subject.device, subject.vectors);
            let what = format!("{device}, {vectors} vectors: {name}, direct / {}", way.name());
            Some(Aim { what, aim: WITHIN_NOISE, reached, at_most: true })
        })
        .collect()
}

fn growth(figures: &Figures) -> Option<Aim> {
    let (large, small, aim) = GROWTH;
    let each = |vectors: u32| {
        let subjects = figures.subjects();
        let subject = subjects.iter().find(|s| s.place == Testbed::Kvm && s.vectors == vectors)?;
        Some(figures.get(subject, Action::SetUp, Way::Direct)?.median / f64::from(vectors))
    };
    let what = format!("emulated: set-up per vector, {large} vectors / {small} vectors");
    Some(Aim { what, aim, reached: each(large)? / each(small)?, at_most: true })
}

#[cfg(test)]
mod tests {
    use super::super::run_figures::{Delivery, RunFigures};
    use super::*;

    #[test]
    fn delivery_may_take_a_quarter_more_than_trapping() {
        let subject = Subject { place: Testbed::Lab, device: "igb", vectors: 10 };
        let mut figures = Figures::default();
        let run = |cycles| {
            let own = Some(Delivery { together: 1, histogram: vec![cycles, 1] });
            RunFigures { own, ..RunFigures::default() }
        };
        figures.add(&subject, Way::Direct, &run(40_960));
        for (way, cycles) in [(Way::Trapped, 32_768), (Way::Qemu, 20_480)] {
            figures.add(&subject, way, &run(cycles));
        }
        let [trapped, qemu] = &delivery(&figures, &subject)[..] else { panic!("two of six were measured") };
        assert!(trapped.is_met() && !qemu.is_met(), "{trapped:?} {qemu:?}");
        assert_eq!(qemu.what, "igb, 10 vectors: to handler, own CPU, direct / qemu");
    }
}
