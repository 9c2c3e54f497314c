//! How long interrupts take.

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
            let buckets = figures.histogram(subject, way)?;
            let all: u64 = buckets.values().sum();
            let (first, last) = (*buckets.keys().next()?, *buckets.keys().next_back()?);
            let points = (first.saturating_sub(1)..=last + 1).map(|bucket| {
                let count = buckets.get(&bucket).copied().unwrap_or_default();
                (begins(bucket) / 1000.0, count as f64 * 100.0 / all.max(1) as f64)
            });
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
        .x_desc("kilocycles (logarithmic, four buckets for each power of two)")
        .y_desc("% of interrupts")
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

/// Where a bucket begins, in cycles: as the kernel makes them.
fn begins(bucket: u64) -> f64 {
    let exponent = i32::try_from(bucket / 4).unwrap_or(i32::MAX);
    (4 + bucket % 4) as f64 * 2.0_f64.powi(exponent - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_where_the_kernel_lets_them_begin() {
        assert_eq!((begins(8), begins(9), begins(12), begins(40)), (4.0, 5.0, 8.0, 1024.0));
    }
}
