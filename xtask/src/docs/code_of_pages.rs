//! The code in the pages that lead through a program is that of the program that the tests run.

use std::fs;

use crate::build::workspace;

/// Such pages, and how many blocks of code each has at least.
const PAGES: [(&str, usize); 2] = [("docs/your-kernel.md", 7), ("docs/embedding.md", 6)];
/// What stands before a block of code, with the file that the block is taken from.
const MARK: &str = "<!-- from: ";

/// Each block of code in a language, with the line before it.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            // Commands and what they print are no code.
            if !["```", "```sh"].contains(&line) {
                blocks.push((before, code.join("\n")));
            }
        }
        before = line;
    }
    blocks
}

#[test]
fn every_block_of_code_stands_in_the_file_that_it_names() {
    for (page, least) in PAGES {
        let text = fs::read_to_string(workspace::root().join(page)).unwrap();
        let blocks = blocks(&text);
        assert!(blocks.len() >= least, "{page}: only {} blocks of code found", blocks.len());
        for (before, code) in blocks {
            let file = before.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(" -->"));
            let file = file.unwrap_or_else(|| panic!("{page}: no file is named before:\n{code}"));
            let source = fs::read_to_string(workspace::root().join(file)).unwrap();
            let stands = source.contains(&format!("{code}\n"));
            assert!(stands, "{file} does not have, word by word:\n{code}");
        }
    }
}

#[test]
fn a_block_is_found_with_what_stands_before_it() {
    let page = "x\n```sh\nno code\n```\n<!-- from: a.rs -->\n```rust\nfn f() {}\n\nfn g() {}\n```\n";
    assert_eq!(blocks(page), [("<!-- from: a.rs -->", "fn f() {}\n\nfn g() {}".to_owned())]);
}
