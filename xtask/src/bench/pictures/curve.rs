//! Cost or exits against the number of vectors.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::Result;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::axes::{Axes, logarithmic, number};
use super::page::{Area, Page, SMALL, drawn};
use super::{Curve, Mark, colour};

/// A line for each curve, both axes logarithmic; nothing where there is but one number of vectors.
pub(super) fn draw(page: &Page<'_>, axes: Axes, curves: &[Curve]) -> Result<Option<PathBuf>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let largest = points().fold(1.0_f64, |most, (_, y)| most.max(*y));
    let smallest = points().fold(largest, |least, (_, y)| least.min(*y));
    let right = points().fold(1.0_f64, |most, (x, _)| most.max(*x));
    if right <= 1.0 {
        return Ok(None);
    }
    let (x, y) = (0.9..right * 1.1, smallest / 1.5..largest * 1.5);
    page.draw(&marks(curves), |area| lines(area, axes, x, logarithmic(y), 3, curves)).map(Some)
}

/// The curves on their axes, with points of this size.
pub(super) fn lines<Y>(
    area: &Area<'_>,
    axes: Axes,
    x: Range<f64>,
    y: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
    point: u32,
    curves: &[Curve],
) -> Result<()>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = builder(area).build_cartesian_2d(logarithmic(x), y).map_err(drawn)?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .light_line_style(TRANSPARENT)
        .label_style(SMALL.into_font())
        .draw()
        .map_err(drawn)?;
    for (way, points) in curves {
        let line = LineSeries::new(points.iter().copied(), colour(*way).stroke_width(2)).point_size(point);
        chart.draw_series(line).map_err(drawn)?;
    }
    Ok(())
}

pub(super) fn marks(curves: &[Curve]) -> Vec<Mark> {
    curves.iter().map(|(way, _)| Mark::of(*way)).collect()
}

/// The margins that all charts have.
pub(super) fn builder<'a, 'b>(area: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(10).margin_right(24).x_label_area_size(40).y_label_area_size(90);
    builder
}
