//! Every action of a device, a bar for each way but the direct one, in multiples of that.

use std::path::PathBuf;

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::figures::Figures;
use super::super::what::{Action, Subject, Way};
use super::axes::{logarithmic, number};
use super::curve::builder;
use super::page::{Area, Page, SMALL, drawn};
use super::{Mark, colour};

/// Height of the names below the bars, and their letters: eleven names stand side by side.
pub(super) const NAMES: u32 = 44;
const LETTERS: (&str, u32) = ("sans-serif", 14);

/// One picture.
pub(super) fn draw(page: &Page<'_>, figures: &Figures, subject: &Subject) -> Result<PathBuf> {
    let there = |action: &Action| figures.get(subject, *action, Way::Direct).is_some();
    let actions: Vec<Action> = Action::ALL.into_iter().filter(there).collect();
    let others = Way::ALL.into_iter().filter(|way| *way != Way::Direct);
    let ways: Vec<Way> = others.filter(|way| figures.ratio(subject, Action::SetUp, *way).is_some()).collect();
    // the direct one is the line that the bars stand on
    let legend: Vec<Way> = [Way::Direct].into_iter().chain(ways.iter().copied()).collect();
    let legend: Vec<Mark> = legend.into_iter().map(Mark::of).collect();
    page.draw(&legend, |area| bars(area, figures, subject, &actions, &ways))
}

fn bars(
    area: &Area<'_>,
    figures: &Figures,
    subject: &Subject,
    actions: &[Action],
    ways: &[Way],
) -> Result<()> {
    let ratios = || actions.iter().flat_map(|action| ways.iter().map(move |way| (*action, *way)));
    let ratio = |action, way| figures.ratio(subject, action, way);
    let all = || ratios().filter_map(|(action, way)| ratio(action, way));
    let (lowest, highest) = (all().fold(0.5, f64::min), all().fold(2.0, f64::max));
    let mut chart = builder(area)
        .x_label_area_size(NAMES)
        .build_cartesian_2d(0.0..actions.len() as f64, logarithmic(lowest / 1.5..highest * 1.5))
        .map_err(drawn)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(SMALL.into_font())
        .x_labels(0)
        .y_label_formatter(&number)
        .y_desc("times the direct way")
        .draw()
        .map_err(drawn)?;
    let width = 0.8 / ways.len().max(1) as f64;
    for (way, offset) in ways.iter().zip(0_u8..) {
        let bars = actions.iter().zip(0_u8..).filter_map(|(action, place)| {
            let left = f64::from(place) + 0.1 + f64::from(offset) * width;
            let corners = [(left, 1.0), (left + width * 0.92, ratio(*action, *way)?)];
            Some(Rectangle::new(corners, colour(*way).filled()))
        });
        chart.draw_series(bars).map_err(drawn)?;
    }
    // what is measured with: the direct way
    let direct =
        LineSeries::new([(0.0, 1.0), (actions.len() as f64, 1.0)], colour(Way::Direct).stroke_width(2));
    chart.draw_series(direct).map_err(drawn)?;
    for (action, place) in actions.iter().zip(0_u8..) {
        let (x, y) = chart.backend_coord(&(f64::from(place) + 0.5, lowest / 1.5));
        let origin = area.get_base_pixel();
        let at = (x - origin.0, y - origin.1 + 8);
        name(area, action.name(), at)?;
    }
    Ok(())
}

/// In two lines, below its bars.
pub(super) fn name(area: &Area<'_>, name: &str, (x, y): (i32, i32)) -> Result<()> {
    let style = LETTERS.into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
    for (line, offset) in halves(name).into_iter().zip([0, 16]) {
        area.draw(&Text::new(line.to_owned(), (x, y + offset), style.clone())).map_err(drawn)?;
    }
    Ok(())
}

/// Parts at the space that is nearest to the middle.
fn halves(name: &str) -> [&str; 2] {
    let middle = name.len() / 2;
    let spaces = name.match_indices(' ').map(|(place, _)| place);
    match spaces.min_by_key(|place| place.abs_diff(middle)) {
        Some(place) => [&name[..place], &name[place + 1..]],
        None => [name, ""],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parted_in_the_middle() {
        assert_eq!(halves("boot to 1st interrupt"), ["boot to 1st", "interrupt"]);
        assert_eq!(halves("word"), ["word", ""]);
    }
}
