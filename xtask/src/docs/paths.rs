//! A file or folder of this tree that a page names exists.

use super::{pages, prose};
use crate::build::workspace;

/// What a page may name by its path from the root of the tree.
const FOLDERS: [&str; 6] = ["docs/", "guest/", "host/", "shared-abi/", "test-kernel/", "xtask/"];

/// The paths among the code spans of a line. A span with a blank is a command; one with `...` is no path.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(|span| {
        FOLDERS.iter().any(|folder| span.starts_with(folder))
            && !span.contains([' ', '*'])
            && !span.contains("...")
    })
}

#[test]
fn every_path_that_is_named_exists() {
    let mut missing = Vec::new();
    // A changelog names what was.
    for (page, text) in pages().iter().filter(|(page, _)| page != "CHANGELOG.md") {
        for (number, line) in prose(text) {
            let gone = paths(line).filter(|path| !workspace::root().join(path).exists());
            missing.extend(gone.map(|path| format!("{page}:{number}: {path}")));
        }
    }
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
}

#[test]
fn paths_are_code_spans_below_a_folder_of_the_tree() {
    let line =
        "`host/src/` and `guest/src/map.rs`, `...`; not `cargo test` or host/src/x.rs or `host/src/...`";
    assert_eq!(paths(line).collect::<Vec<_>>(), ["host/src/", "guest/src/map.rs"]);
}
