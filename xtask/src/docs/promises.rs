//! Each promise of the threat model, and each figure, names tests and campaigns that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::build::workspace;
use crate::{campaign, suite};

/// Pages whose tables name tests, the mark before the first table, and how many rows there are at least.
const PAGES: [(&str, &str, usize); 2] =
    [("docs/threat-model.md", "<!-- promises -->", 14), ("docs/figures.md", "<!-- figures -->", 21)];
const CAMPAIGN: &str = "./run.sh campaign ";

/// The rows of the table behind the mark, cell by cell, without its head.
fn rows<'p>(page: &'p str, mark: &str) -> Vec<Vec<&'p str>> {
    let behind = page.split_once(mark).map_or("", |(_, rest)| rest);
    let table = behind.lines().skip(1).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names of all functions that are tests, in all sources of the workspace.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.join("CACHEDIR.TAG").exists() && !path.ends_with(".git") {
            functions(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let tests = text.split("#[test]").skip(1);
            names.extend(
                tests.filter_map(|rest| Some(rest.split_once("fn ")?.1.split_once('(')?.0.to_owned())),
            );
        }
    }
}

/// Whether a test of the suite, a test function or a campaign is called so.
fn exists(name: &str, functions: &BTreeSet<String>) -> bool {
    if let Some(command) = name.strip_prefix(CAMPAIGN) {
        let mut words = command.split(' ');
        let campaign = words.next().unwrap_or_default();
        return campaign::names().iter().any(|known| known.split('-').next() == campaign.split('-').next());
    }
    suite::names().contains(&name) || functions.contains(name)
}

#[test]
fn every_test_that_holds_a_promise_or_a_figure_exists() {
    let mut known = BTreeSet::new();
    functions(workspace::root(), &mut known);
    for (page, mark, least) in PAGES {
        let text = fs::read_to_string(workspace::root().join(page)).unwrap();
        let rows = rows(&text, mark);
        assert!(rows.len() >= least, "{page}: {} rows behind {mark}", rows.len());
        for row in rows {
            let named: Vec<&str> = row.iter().skip(1).flat_map(|cell| quoted(cell)).collect();
            let is_of_tests = |name: &&&str| page.contains("threat") || is_like_a_test(name);
            let missing: Vec<_> =
                named.iter().filter(is_of_tests).filter(|name| !exists(name, &known)).collect();
            assert!(missing.is_empty(), "{page}: no test, function or campaign is called {missing:?}");
            assert!(!page.contains("threat") || !named.is_empty(), "{page}: no test holds {:?}", row.first());
        }
    }
}

/// In a table that has other things in backticks too.
fn is_like_a_test(name: &str) -> bool {
    let suite = name.split_once('/').is_some_and(|(group, case)| {
        ["kvm", "intel", "amd", "nosid", "model", "cargo"].contains(&group) && !case.contains('.')
    });
    suite || name.starts_with(CAMPAIGN)
}

#[test]
fn a_name_that_nothing_has_is_found() {
    let known = BTreeSet::from(["a_function".to_owned()]);
    let all = ["kvm/retargets", "a_function", "./run.sh campaign storm --lab intel", "kvm/nothing", "nobody"];
    assert_eq!(all.map(|name| exists(name, &known)), [true, true, true, false, false]);
    assert_eq!(
        rows("x\n<!-- m -->\n| a | b |\n|---|---|\n| 1 | `2` |\n\n| 3 |\n", "<!-- m -->"),
        [["1", "`2`"]]
    );
}
