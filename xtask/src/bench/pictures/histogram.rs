//! How long interrupts take: which part of them had been handled when.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::prelude::*;

use super::super::figures::{Figures, Subject, Way};
use super::super::machine::Machine;
use super::{Curve, SMALL, colour, drawn, page, place};

/// One picture, a line for each way.
pub(super) fn draw(
    folder: &Path,
    figures: &Figures,
    subject: &Subject,
    machine: &Machine,
    files: &mut Vec<PathBuf>,
) -> Result<()> {
    let curves: Vec<Curve> = Way::ALL
        .into_iter()
        .filter_map(|way| {
            let come = figures.latency(subject, way)?.cumulated();
            let points = come.into_iter().map(|(x, part)| (x / 1000.0, part * 100.0));
            Some((way.name().to_owned(), colour(way), points.collect()))
        })
        .collect();
    let points = || curves.iter().flat_map(|(_, _, points)| points);
    let left = points().fold(f64::MAX, |least, (x, _)| least.min(*x));
    let right = points().fold(0.0_f64, |most, (x, _)| most.max(*x));
    let top = points().fold(0.0_f64, |most, (_, y)| most.max(*y));
    if right <= left {
        return Ok(());
    }
    let path = folder.join(format!("latency-{}.svg", subject.device));
    let caption = format!(
        "from trigger to handler, {}, {} vectors ({})",
        subject.device,
        subject.vectors,
        place(subject.place)
    );
    let root = page(&path, &caption, machine)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((left..right).log_scale(), 0.0..top * 1.1)
        .map_err(drawn)?;
    chart
        .configure_mesh()
        .x_desc("kilocycles (logarithmic)")
        .y_desc("% handled by then")
        .light_line_style(TRANSPARENT)
        .label_style(SMALL.into_font())
        .draw()
        .map_err(drawn)?;
    for (label, colour, points) in &curves {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(2);
        let drawn_line = chart.draw_series(line).map_err(drawn)?;
        let colour = *colour;
        drawn_line
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .label_font(SMALL.into_font())
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(drawn)?;
    root.present().map_err(drawn)?;
    files.push(path.clone());
    Ok(())
}
