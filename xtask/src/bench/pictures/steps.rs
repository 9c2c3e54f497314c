//! Steps that were counted: a group of bars for each, a bar for each way, and its number above it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::machine::Machine;
use super::Mark;
use super::axes::{logarithmic, number};
use super::bars::{NAMES, name};
use super::curve::builder;
use super::page::{Area, Page, SMALL, drawn};
use crate::numbers::grouped;

/// Where bars stand on a logarithmic axis, so that one is seen and none is not.
const BASE: f64 = 0.7;
const NUMBERS: (&str, u32) = ("sans-serif", 11);

/// A step, and how much it took in each way.
pub(in super::super) struct Step {
    pub(in super::super) name: String,
    pub(in super::super) counts: Vec<(Mark, f64)>,
}

/// One picture, by the name of its file without ending.
pub(in super::super) fn draw(
    folder: &Path,
    file: &str,
    caption: String,
    machine: &Machine,
    steps: &[Step],
) -> Result<PathBuf> {
    let mut marks: Vec<Mark> = Vec::new();
    for (mark, _) in steps.iter().flat_map(|step| &step.counts) {
        if !marks.contains(mark) {
            marks.push(*mark);
        }
    }
    let page = Page { folder, name: file.to_owned(), caption, machine };
    page.draw(&marks, |area| groups(area, steps, &marks))
}

fn groups(area: &Area<'_>, steps: &[Step], marks: &[Mark]) -> Result<()> {
    let highest =
        steps.iter().flat_map(|step| &step.counts).fold(2.0, |most: f64, (_, count)| most.max(*count));
    let mut chart = builder(area)
        .x_label_area_size(NAMES)
        .build_cartesian_2d(0.0..steps.len() as f64, logarithmic(BASE..highest * 2.0))
        .map_err(drawn)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(SMALL.into_font())
        .x_labels(0)
        .y_label_formatter(&number)
        .y_desc("exits to the VMM")
        .draw()
        .map_err(drawn)?;
    let width = 0.86 / marks.len().max(1) as f64;
    let origin = area.get_base_pixel();
    for (step, place) in steps.iter().zip(0_u8..) {
        for (mark, count) in &step.counts {
            let offset = marks.iter().take_while(|other| *other != mark).count() as f64;
            let left = f64::from(place) + 0.07 + offset * width;
            let top = count.max(BASE);
            let bar = Rectangle::new([(left, BASE), (left + width * 0.92, top)], mark.colour.filled());
            chart.draw_series([bar]).map_err(drawn)?;
            let (x, y) = chart.backend_coord(&(left + width * 0.46, top));
            let style = NUMBERS.into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Bottom));
            let text = Text::new(grouped(count.round()), (x - origin.0, y - origin.1 - 2), style);
            area.draw(&text).map_err(drawn)?;
        }
        let (x, y) = chart.backend_coord(&(f64::from(place) + 0.5, BASE));
        name(area, &step.name, (x - origin.0, y - origin.1 + 8))?;
    }
    Ok(())
}
