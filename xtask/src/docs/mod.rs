//! Tests of the documentation: that it can be read in any editor, and that what it names exists.

mod code_of_pages;
mod links;
mod paths;
mod pictures;
mod promises;
mod shown;
mod width;

use std::fs;
use std::path::{Path, PathBuf};

use crate::build::workspace;

/// Every Markdown page of the source tree, by its path from the root, with its text.
fn pages() -> Vec<(String, String)> {
    let root = workspace::root();
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.sort();
    let pages: Vec<_> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(pages.iter().any(|(name, _)| name == "README.md"), "no pages found below {}", root.display());
    pages
}

/// Leaves out hidden folders and build folders, in which pages of other projects may lie, and links to pages, by which
/// a package takes along one of another folder.
fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_build_folder = path.join("CACHEDIR.TAG").exists();
        if path.is_dir() && !name.starts_with('.') && !is_build_folder {
            collect(&path, pages);
        } else if name.ends_with(".md") && !path.is_symlink() {
            pages.push(path);
        }
    }
}

/// The lines of `text` outside of fenced code blocks, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_fence && !is_code).then_some((number, line))
    })
}

#[test]
fn prose_is_what_stands_outside_of_code() {
    let lines: Vec<_> = prose("a\n```sh\nb\n```\nc\n").collect();
    assert_eq!(lines, [(1, "a"), (5, "c")]);
}
