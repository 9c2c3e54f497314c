//! `docs/shown.md` tells for each property which tests show it: those tests must exist, or the cell says why none does.

use std::fs;

use crate::build::workspace;
use crate::suite;

const COLUMNS: usize = 4;

/// What stands where a property meets a kind of machine.
#[derive(Debug, PartialEq, Eq)]
enum Cell<'a> {
    /// The tests that show it, by their names in `./run.sh test --list`.
    By(Vec<&'a str>),
    /// Why nothing does.
    Not(&'a str),
}

/// `` `test` `test` `` or `*a reason*`, and nothing else.
fn cell(text: &str) -> Option<Cell<'_>> {
    let inside = |text: &str, mark: char| -> Option<bool> {
        let inner = text.strip_prefix(mark)?.strip_suffix(mark)?;
        Some(!inner.is_empty() && !inner.contains(mark))
    };
    if inside(text, '*') == Some(true) {
        return Some(Cell::Not(text.trim_matches('*')));
    }
    let words: Vec<&str> = text.split(' ').collect();
    let are_names = words.iter().all(|word| inside(word, '`') == Some(true));
    are_names.then(|| Cell::By(words.iter().map(|word| word.trim_matches('`')).collect()))
}

/// The page's rows: a property and a cell for each kind of machine, header and rule left out.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let lines = page.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_test_that_is_named_exists_and_no_cell_is_empty() {
    let page = fs::read_to_string(workspace::root().join("docs/shown.md")).unwrap();
    let known = suite::names();
    let rows = rows(&page);
    assert!(rows.len() >= 22, "only {} rows found", rows.len());
    for row in rows {
        assert_eq!(row.len(), COLUMNS, "{row:?}");
        assert!(!row[0].is_empty(), "{row:?}");
        for text in &row[1..] {
            match cell(text) {
                Some(Cell::By(tests)) => {
                    let missing: Vec<_> = tests.iter().filter(|name| !known.contains(name)).collect();
                    assert!(missing.is_empty(), "{}: no such tests: {missing:?}", row[0]);
                }
                Some(Cell::Not(_)) => {}
                None => panic!("{}: neither `tests` nor *a reason*: {text:?}", row[0]),
            }
        }
    }
}

#[test]
fn a_cell_is_tests_or_a_reason() {
    assert_eq!(cell("`a/b` `c/d`"), Some(Cell::By(vec!["a/b", "c/d"])));
    assert_eq!(cell("*as for `igb`*"), Some(Cell::Not("as for `igb`")));
    for wrong in ["", "*", "**", "``", "a/b", "`a/b", "`a/b`, `c/d`", "*why* `a/b`"] {
        assert_eq!(cell(wrong), None, "{wrong}");
    }
}
