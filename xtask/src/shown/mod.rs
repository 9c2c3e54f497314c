//! `xtask shown`: the README's table of what was shown where, generated from the tests that show it.

mod rows;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::build::workspace;
use rows::{COLUMNS, ROWS};

/// Print the table of what was shown where, by which test; its source is xtask/src/shown/rows.rs.
#[derive(Args)]
pub(crate) struct Options {
    /// Put it into README.md instead
    #[arg(long)]
    write: bool,
}

/// What stands where a row meets a column.
enum Cell {
    /// The tests that show it, by their names in `./run.sh test --list`.
    By(&'static [&'static str]),
    /// Why nothing does.
    Not(&'static str),
}

/// A store, a routing or a property.
struct Row {
    what: &'static str,
    /// In the order of [`COLUMNS`].
    cells: [Cell; COLUMNS.len()],
}

const BEGIN: &str = "<!-- shown: `./run.sh shown --write` -->\n";
const END: &str = "<!-- end of shown -->\n";

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !options.write {
        print!("{}", table());
        return Ok(ExitCode::SUCCESS);
    }
    let path = workspace::root().join("README.md");
    let readme = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, _, after) = split(&readme).context("README.md lacks the marks of the table")?;
    fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What stands before, between and after the marks.
fn split(readme: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (between, after) = rest.split_once(END)?;
    Some((before, between, after))
}

/// The table in Markdown.
fn table() -> String {
    let mut lines =
        vec![format!("| | {} |", COLUMNS.join(" | ")), format!("|---{}|", "|---".repeat(COLUMNS.len()))];
    lines.extend(ROWS.iter().map(|row| {
        let cells: Vec<String> = row.cells.iter().map(Cell::text).collect();
        format!("| {} | {} |", row.what, cells.join(" | "))
    }));
    lines.join("\n") + "\n"
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::By(tests) => tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(" "),
            Self::Not(why) => format!("*{why}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    #[test]
    fn every_test_that_is_named_exists() {
        let known = suite::names();
        let named = ROWS.iter().flat_map(|row| &row.cells).filter_map(|cell| match cell {
            Cell::By(tests) => Some(*tests),
            Cell::Not(_) => None,
        });
        let missing: Vec<&str> = named.flatten().copied().filter(|name| !known.contains(name)).collect();
        assert!(missing.is_empty(), "no such tests: {missing:?}");
    }

    #[test]
    fn no_cell_is_empty() {
        assert!(ROWS.iter().flat_map(|row| &row.cells).all(|cell| cell.text().len() > 2));
    }

    #[test]
    fn the_readme_has_this_table() {
        let readme = fs::read_to_string(workspace::root().join("README.md")).unwrap();
        let (_, between, _) = split(&readme).unwrap();
        assert_eq!(between, table(), "help: ./run.sh shown --write");
    }
}
