//! How long interrupts take: which part of them had been handled when.

use std::path::PathBuf;

use anyhow::Result;

use super::super::figures::Figures;
use super::super::histogram::Histogram;
use super::super::what::{Subject, Way};
use super::Curve;
use super::axes::Axes;
use super::curve::{lines, marks};
use super::page::Page;

/// Where the picture begins and ends: what is rarer would take most of it.
const SHOWN: [f64; 2] = [0.002, 0.95];

/// One picture, a line for each way.
pub(super) fn draw(page: &Page<'_>, figures: &Figures, subject: &Subject) -> Result<Option<PathBuf>> {
    let histograms: Vec<_> =
        Way::ALL.into_iter().filter_map(|way| Some((way, figures.latency(subject, way)?))).collect();
    let ends = |part| histograms.iter().filter_map(move |(_, histogram)| histogram.quantile(part));
    let (left, right) = (ends(SHOWN[0]).fold(f64::MAX, f64::min), ends(SHOWN[1]).fold(0.0, f64::max));
    if right <= left {
        return Ok(None);
    }
    let shown = |histogram: &Histogram| {
        let points = histogram.cumulated().into_iter().take_while(|(x, _)| *x <= right);
        points.map(|(x, part)| (x.max(left) / 1000.0, part * 100.0)).collect()
    };
    let curves: Vec<Curve> = histograms.iter().map(|(way, histogram)| (*way, shown(histogram))).collect();
    let axes = Axes { x: "kilocycles (logarithmic)", y: "% handled by then" };
    let x = left / 1000.0..right / 1000.0;
    page.draw(&marks(&curves), |area| lines(area, axes, x, 0.0..100.0, 0, &curves)).map(Some)
}
