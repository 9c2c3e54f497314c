//! Prose is wrapped: pages are written for about 100 columns, and no line is wider than [`MAX_COLUMNS`].

use super::{pages, prose};

const MAX_COLUMNS: usize = 110;

/// The width of a line of prose. The target of a link cannot be wrapped and does not count; a table's row has none.
fn columns(line: &str) -> usize {
    if line.trim_start().starts_with('|') {
        return 0;
    }
    let mut parts = line.split("](");
    let first = parts.next().unwrap_or_default().chars().count();
    let after_target = |part: &str| part.find(')').map_or(part, |end| &part[end..]).chars().count();
    first + parts.map(after_target).sum::<usize>()
}

#[test]
fn no_line_of_prose_is_too_wide() {
    let mut wide = Vec::new();
    for (page, text) in &pages() {
        for (number, line) in prose(text) {
            if columns(line) > MAX_COLUMNS {
                wide.push(format!("{page}:{number}: {} columns", columns(line)));
            }
        }
    }
    assert!(wide.is_empty(), "wrap these at 100 columns:\n{}", wide.join("\n"));
}

#[test]
fn columns_are_those_of_prose() {
    assert_eq!(columns("ab…"), 3);
    assert_eq!(columns("  | a | row |"), 0);
    assert_eq!(columns("[a](https://example.org/) b"), "[a) b".len());
}
