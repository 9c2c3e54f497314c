//! Cost or exits against the number of vectors.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::prelude::*;

use super::super::machine::Machine;
use super::{Curve, SMALL, drawn, page};

/// A line for each curve, both axes logarithmic.
pub(super) fn draw(
    folder: &Path,
    name: &str,
    caption: &str,
    unit: &str,
    machine: &Machine,
    curves: &[Curve],
    files: &mut Vec<PathBuf>,
) -> Result<()> {
    let points = || curves.iter().flat_map(|(_, _, points)| points);
    let largest = points().fold(1.0_f64, |most, (_, y)| most.max(*y));
    let smallest = points().fold(largest, |least, (_, y)| least.min(*y));
    let right = points().fold(1.0_f64, |most, (x, _)| most.max(*x));
    if right <= 1.0 {
        return Ok(());
    }
    let path = folder.join(format!("{name}.svg"));
    let root = page(&path, caption, machine)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d((1.0..right * 1.1).log_scale(), (smallest / 1.5..largest * 1.5).log_scale())
        .map_err(drawn)?;
    chart
        .configure_mesh()
        .x_desc("vectors")
        .y_desc(unit)
        .light_line_style(TRANSPARENT)
        .label_style(SMALL.into_font())
        .draw()
        .map_err(drawn)?;
    for (label, colour, points) in curves {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3);
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
