//! Curves of cost and of exits against the number of vectors, and of latency; bars of what others take, and of what each
//! step of a driver takes.

mod axes;
mod bars;
mod curve;
mod latency;
mod page;
mod steps;

use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::style::RGBColor;

use super::aims::is_whole;
use super::figures::{Figures, Spread};
use super::machine::Machine;
use super::what::{Action, Subject, Testbed, Way};
use axes::Axes;
use page::Page;

pub(super) use steps::{Step, draw as steps};

/// Whose, and its points.
type Curve = (Way, Vec<(f64, f64)>);

/// Draws all for which there are figures; answers with the files.
pub(super) fn draw(figures: &Figures, folder: &Path, machine: &Machine) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (at, device, prefix) in [(Testbed::Kvm, "emulated", ""), (Testbed::Lab, "nvme", "lab-")] {
        for (name, action) in COSTS {
            let curves = against_vectors(figures, at, device, action, |spread| spread.median / 1000.0);
            let caption = format!("{}, {device} ({})", action.name(), place(at));
            let page = Page { folder, name: format!("{prefix}{name}"), caption, machine };
            files.extend(curve::draw(&page, Axes { x: "vectors", y: "kilocycles" }, &curves)?);
        }
        let curves = against_vectors(figures, at, device, Action::SetUp, |spread| spread.exits);
        let caption = format!("exits of set-up, {device} ({})", place(at));
        let page = Page { folder, name: format!("{prefix}exits"), caption, machine };
        files.extend(curve::draw(&page, Axes { x: "vectors", y: "exits to user space" }, &curves)?);
    }
    for subject in figures.subjects() {
        let Subject { place: at, device, vectors } = subject;
        if *at == Testbed::Lab && !is_whole(subject) {
            continue;
        }
        let about = |what: &str| format!("{device}, {vectors} vectors: {what} ({})", place(*at));
        if *at == Testbed::Lab {
            let page =
                Page { folder, name: format!("lab-{device}"), caption: about("cost, direct = 1"), machine };
            files.push(bars::draw(&page, figures, subject)?);
        }
        if *at == Testbed::Lab || *vectors == LATENCY_OF {
            let caption = about("from trigger to handler on two CPUs");
            let page = Page { folder, name: format!("latency-{device}"), caption, machine };
            files.extend(latency::draw(&page, figures, subject)?);
        }
    }
    Ok(files)
}

/// Vectors of the emulated device in the picture of latency: one of them shows as much as all.
const LATENCY_OF: u32 = 64;

/// Whose something is, in a legend and where it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: &'static str,
    colour: RGBColor,
}

impl Mark {
    fn of(way: Way) -> Self {
        Self::new(way.name(), way)
    }

    /// In the colour of a way, by another name.
    pub(super) fn new(name: &'static str, way: Way) -> Self {
        Self { name, colour: colour(way) }
    }

    /// In a colour that no way has.
    pub(super) fn another(name: &'static str) -> Self {
        Self { name, colour: RGBColor(20, 150, 170) }
    }
}

fn colour(way: Way) -> RGBColor {
    match way {
        Way::Direct => RGBColor(0, 110, 60),
        Way::Trapped => RGBColor(200, 60, 30),
        Way::Qemu => RGBColor(60, 80, 190),
        Way::CloudHypervisor => RGBColor(150, 90, 170),
    }
}

fn place(place: Testbed) -> &'static str {
    match place {
        Testbed::Kvm => "this machine's KVM",
        Testbed::Lab => "nested lab: an EMULATOR, only ratios mean anything",
    }
}

/// What is drawn against the number of vectors, and the name of the picture.
const COSTS: [(&str, Action); 4] = [
    ("set-up", Action::SetUp),
    ("retarget", Action::RetargetAll),
    ("mask", Action::Mask),
    ("tear-down", Action::TearDown),
];

/// A curve for each way; none where there is but one number of vectors.
fn against_vectors(
    figures: &Figures,
    at: Testbed,
    device: &str,
    action: Action,
    value: impl Fn(Spread) -> f64,
) -> Vec<Curve> {
    let is_meant = |subject: &&Subject| subject.place == at && subject.device == device;
    let subjects: Vec<&Subject> = figures.subjects().into_iter().filter(is_meant).collect();
    if subjects.len() < 2 {
        return Vec::new();
    }
    let of = |way: Way| {
        let points = subjects.iter().filter_map(|subject| {
            let spread = figures.get(subject, action, way)?;
            Some((f64::from(subject.vectors), value(spread)))
        });
        (way, points.filter(|(_, y)| *y > 0.0).collect())
    };
    Way::ALL.into_iter().map(of).filter(|(_, points): &Curve| !points.is_empty()).collect()
}
