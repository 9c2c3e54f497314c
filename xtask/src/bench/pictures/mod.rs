//! Curves of cost and of exits against the number of vectors, and the histogram of latency.

mod bars;
mod curve;
mod histogram;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::figures::{Action, Figures, Place, Subject, Way};
use super::machine::Machine;

const SIZE: (u32, u32) = (900, 520);
const CAPTION: (&str, u32) = ("sans-serif", 23);
const SMALL: (&str, u32) = ("sans-serif", 16);
type Svg<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Name and points.
type Curve = (String, RGBColor, Vec<(f64, f64)>);

/// Draws all for which there are figures; answers with the files.
pub(super) fn draw(figures: &Figures, folder: &Path, machine: &Machine) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (name, action) in [
        ("set-up", Action::SetUp),
        ("retarget", Action::RetargetAll),
        ("mask", Action::Mask),
        ("tear-down", Action::TearDown),
    ] {
        let caption = format!("{}, emulated device, this machine's KVM", action.name());
        let curves = against_vectors(figures, action, |spread| spread.median / 1000.0);
        curve::draw(folder, name, &caption, "kilocycles", machine, &curves, &mut files)?;
    }
    let curves = against_vectors(figures, Action::SetUp, |spread| spread.exits);
    curve::draw(folder, "exits", "exits of set-up, emulated device", "exits", machine, &curves, &mut files)?;
    let lab: Vec<&Subject> =
        figures.subjects().into_iter().filter(|subject| subject.place == Place::Lab).collect();
    for subject in lab {
        bars::draw(folder, figures, subject, machine, &mut files)?;
    }
    for subject in figures.subjects().into_iter().filter(|subject| in_histogram(subject)) {
        histogram::draw(folder, figures, subject, machine, &mut files)?;
    }
    Ok(files)
}

fn in_histogram(subject: &Subject) -> bool {
    subject.device == "igb" || (subject.place == Place::Kvm && subject.vectors == 64)
}

fn colour(way: Way) -> RGBColor {
    match way {
        Way::Direct => RGBColor(0, 110, 60),
        Way::Trapped => RGBColor(200, 60, 30),
        Way::Qemu => RGBColor(60, 80, 190),
        Way::CloudHypervisor => RGBColor(150, 90, 170),
    }
}

fn place(place: Place) -> &'static str {
    match place {
        Place::Kvm => "this machine's KVM",
        Place::Lab => "nested lab: an EMULATOR, only ratios mean anything",
    }
}

/// A curve for each way, on this machine's KVM.
fn against_vectors(
    figures: &Figures,
    action: Action,
    value: impl Fn(super::figures::Spread) -> f64,
) -> Vec<Curve> {
    let subjects: Vec<&Subject> =
        figures.subjects().into_iter().filter(|subject| subject.place == Place::Kvm).collect();
    let of = |way: Way| {
        let points = subjects.iter().filter_map(|subject| {
            let spread = figures.get(subject, action, way)?;
            Some((f64::from(subject.vectors), value(spread)))
        });
        (way.name().to_owned(), colour(way), points.filter(|(_, y)| *y > 0.0).collect())
    };
    Way::ALL.into_iter().map(of).filter(|(_, _, points): &Curve| !points.is_empty()).collect()
}

/// A file, its caption, and the machine in small letters below.
fn page<'a>(path: &'a Path, caption: &str, machine: &Machine) -> Result<Svg<'a>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(drawn)?;
    let (body, foot) = root.split_vertically(SIZE.1 - 26);
    foot.draw(&Text::new(machine.line(), (8, 4), SMALL.into_font())).map_err(drawn)?;
    body.titled(caption, CAPTION).map_err(drawn)
}

fn drawn(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
