//! What all pictures have: a caption, a legend, and the machine in small letters; and the file.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::machine::Machine;
use super::Mark;

const SIZE: (u32, u32) = (900, 540);
const CAPTION: (&str, u32) = ("sans-serif", 20);
pub(super) const SMALL: (&str, u32) = ("sans-serif", 16);
const LEGEND_HEIGHT: u32 = 24;
/// Two lines of small letters, and how many of them fit the width.
const FOOT_HEIGHT: u32 = 40;
const FOOT_LETTERS: usize = 130;

/// Where something is drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A picture to be.
pub(super) struct Page<'a> {
    pub(super) folder: &'a Path,
    /// Of the file, without its ending.
    pub(super) name: String,
    pub(super) caption: String,
    pub(super) machine: &'a Machine,
}

impl Page<'_> {
    /// Draws it, with what `body` draws in the middle; answers with the file.
    pub(super) fn draw(&self, marks: &[Mark], body: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<PathBuf> {
        let path = self.folder.join(format!("{}.svg", self.name));
        self.draw_to(&path, marks, body)?;
        Ok(path)
    }

    fn draw_to(&self, path: &Path, marks: &[Mark], body: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<()> {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(drawn)?;
        let inner = root.titled(&self.caption, CAPTION).map_err(drawn)?;
        let (inner, foot) = inner.split_vertically(height(&inner) - FOOT_HEIGHT);
        let (head, middle) = inner.split_vertically(LEGEND_HEIGHT);
        legend(&head, marks)?;
        body(&middle)?;
        for (line, y) in self.machine.lines().iter().zip([2, 20]) {
            foot.draw(&Text::new(shortened(line), (10, y), SMALL.into_font())).map_err(drawn)?;
        }
        root.present().map_err(drawn)
    }
}

fn height(area: &Area<'_>) -> u32 {
    area.dim_in_pixel().1
}

/// In a row of its own, where it hides nothing.
fn legend(area: &Area<'_>, marks: &[Mark]) -> Result<()> {
    const STEP: i32 = 160;
    for (mark, left) in marks.iter().zip((90..).step_by(STEP as usize)) {
        let style = SMALL.into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
        let middle = i32::try_from(LEGEND_HEIGHT / 2)?;
        let corners = [(left, middle - 6), (left + 12, middle + 6)];
        area.draw(&Rectangle::new(corners, mark.colour.filled())).map_err(drawn)?;
        area.draw(&Text::new(mark.name, (left + 18, middle), style)).map_err(drawn)?;
    }
    Ok(())
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= FOOT_LETTERS {
        return line.to_owned();
    }
    line.chars().take(FOOT_LETTERS - 1).chain(['…']).collect()
}

pub(super) fn drawn(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_says_so() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"x".repeat(200));
        assert!(long.ends_with("x…") && long.chars().count() == FOOT_LETTERS);
    }
}
