//! A link to a file of this tree leads to a file.

use super::{pages, prose};
use crate::build::workspace;

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut dead = Vec::new();
    for (page, text) in &pages() {
        let folder = workspace::root().join(page);
        for (number, line) in prose(text) {
            for rest in line.split("](").skip(1) {
                let target = rest.split([')', '#']).next().unwrap_or_default();
                // A crate's page is its rustdoc too, where links name items.
                let is_file = target.contains('.') && !target.contains("://") && !target.contains("::");
                if is_file && !folder.with_file_name(target).exists() {
                    dead.push(format!("{page}:{number}: {target}"));
                }
            }
        }
    }
    assert!(dead.is_empty(), "no such files:\n{}", dead.join("\n"));
}
