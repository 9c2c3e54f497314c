//! Every action of a device, a bar for each way, in multiples of the direct one.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::prelude::*;

use super::super::figures::{Action, Figures, Subject, Way};
use super::super::machine::Machine;
use super::{SMALL, Svg, colour, drawn, page, place};

/// One picture.
pub(super) fn draw(
    folder: &Path,
    figures: &Figures,
    subject: &Subject,
    machine: &Machine,
    files: &mut Vec<PathBuf>,
) -> Result<()> {
    let actions: Vec<Action> = Action::ALL
        .into_iter()
        .filter(|action| figures.get(subject, *action, Way::Direct).is_some())
        .collect();
    let ways: Vec<Way> =
        Way::ALL.into_iter().filter(|way| figures.ratio(subject, Action::SetUp, *way).is_some()).collect();
    let highest = actions
        .iter()
        .flat_map(|action| ways.iter().filter_map(|way| figures.ratio(subject, *action, *way)))
        .fold(1.0, f64::max);
    let path = folder.join(format!("lab-{}.svg", subject.device));
    let (device, vectors) = (subject.device, subject.vectors);
    let caption = format!("{device}, {vectors} vectors: cost, direct = 1 ({})", place(subject.place));
    let root = page(&path, &caption, machine)?;
    let names: Vec<&str> = actions.iter().map(|action| action.name()).collect();
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..actions.len() as f64, (0.5..highest * 2.0).log_scale())
        .map_err(drawn)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(SMALL.into_font())
        .x_labels(0)
        .y_desc("times the direct way")
        .draw()
        .map_err(drawn)?;
    let width = 0.8 / ways.len().max(1) as f64;
    for (way, offset) in ways.iter().zip(0_u8..) {
        let colour = colour(*way);
        let boxes = actions.iter().zip(0_u8..).filter_map(|(action, place)| {
            let left = f64::from(place) + 0.1 + f64::from(offset) * width;
            let ratio = figures.ratio(subject, *action, *way)?;
            Some(Rectangle::new([(left, 0.5), (left + width * 0.92, ratio)], colour.filled()))
        });
        let drawn_bars = chart.draw_series(boxes).map_err(drawn)?;
        drawn_bars
            .label(way.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], colour.filled()));
    }
    label_actions(&root, &names)?;
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

/// The names below the bars, evenly.
fn label_actions(root: &Svg<'_>, names: &[&str]) -> Result<()> {
    let (width, height) = root.dim_in_pixel();
    let (left, right) = (90.0, f64::from(width) - 10.0);
    for (name, place) in names.iter().zip(0_u8..) {
        let x = left + (right - left) * (f64::from(place) + 0.12) / names.len() as f64;
        #[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
        let at = (x as i32, i32::try_from(height)? - 40);
        root.draw(&Text::new((*name).to_owned(), at, SMALL.into_font())).map_err(drawn)?;
    }
    Ok(())
}
