//! What stands at the axes.

use std::ops::Range;

use plotters::coord::combinators::WithKeyPoints;
use plotters::prelude::*;

use crate::numbers::grouped;

/// What they are about.
#[derive(Clone, Copy)]
pub(super) struct Axes {
    pub(super) x: &'static str,
    pub(super) y: &'static str,
}

/// A logarithmic axis, with numbers enough and not too many.
pub(super) fn logarithmic(range: Range<f64>) -> WithKeyPoints<LogCoord<f64>> {
    let ticks = ticks(&range);
    range.log_scale().with_key_points(ticks)
}

/// Numbers between one power of ten and the next, in tenths.
const STEPS: [&[u32]; 4] = [
    &[10],
    &[10, 20, 50],
    &[10, 15, 20, 30, 50, 70],
    &[10, 11, 12, 13, 14, 16, 18, 20, 22, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90],
];

/// The coarsest steps of which three are in the range.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let of = |steps: &[u32]| -> Vec<f64> {
        let all =
            (-4..13).flat_map(|power| steps.iter().map(move |step| f64::from(*step) * 10_f64.powi(power)));
        all.filter(|value| range.contains(value)).collect()
    };
    let coarsest = STEPS.into_iter().map(of).find(|ticks| ticks.len() >= 3);
    coarsest.unwrap_or_else(|| vec![range.start, range.end])
}

/// As it stands there.
pub(super) fn number(value: &f64) -> String {
    if *value < 10.0 { ((value * 1000.0).round() / 1000.0).to_string() } else { grouped(value.round()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_as_many_numbers_as_they_need() {
        let shown = |range| ticks(&range).iter().map(number).collect::<Vec<_>>().join(" ");
        assert_eq!(shown(0.05..20.0), "0.1 1 10");
        assert_eq!(shown(70.0..9_000.0), "100 200 500 1,000 2,000 5,000");
        assert_eq!(shown(70.0..900.0), "100 200 500");
        assert_eq!(shown(139.0..221.0), "140 160 180 200 220");
        assert_eq!(shown(5.1..5.2), "5.1 5.2");
    }
}
