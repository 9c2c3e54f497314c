//! No circle of imports between the top-level modules (folders, and files beside them) of a library.
//!
//! Read from the sources, token by token: every `crate::` path and every `super::` path that leaves its module counts,
//! macros included. A name that the crate's root re-exports counts as the module that it is re-exported from. What is
//! compiled for tests alone does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::build::workspace;

/// What one module imports: the module that it comes from, and where it says so.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Who imports whom, by the names of top-level modules.
#[derive(Default)]
struct Library {
    /// Names that the root re-exports, and the first segment of the path they come from.
    exported: BTreeMap<String, String>,
    modules: BTreeMap<String, Imports>,
}

/// One source file on the way through the tree of modules.
struct Source {
    file: PathBuf,
    /// Its module's path from the crate's root, which is empty itself.
    path: Vec<String>,
}

impl Library {
    fn read(folder: &Path) -> Self {
        let root = folder.join("lib.rs");
        let tokens = tokens(&root);
        let mut library = Self::default();
        for module in declared(&tokens) {
            library.modules.insert(module, Imports::new());
        }
        for (index, token) in tokens.iter().enumerate() {
            if is_word(token, "use") {
                let tree: Vec<_> =
                    tokens[index + 1..].iter().take_while(|token| !is_mark(token, ';')).cloned().collect();
                library.exported.extend(leaves(&tree, None));
            }
        }
        for module in library.modules.keys().cloned().collect::<Vec<_>>() {
            library.follow(&Source { file: file_of(folder, &module), path: vec![module] });
        }
        library
    }

    /// Notes what a file imports, and what the files of its modules do.
    fn follow(&mut self, source: &Source) {
        let tokens = tokens(&source.file);
        for name in from_root(&tokens, source.path.len()) {
            let from = match self.exported.get(&name) {
                Some(from) => from.clone(),
                None if self.modules.contains_key(&name) => name.clone(),
                None => panic!("{}: the crate's root has no {name}", source.file.display()),
            };
            let here = &source.path[0];
            if from != *here && self.modules.contains_key(&from) {
                let imports = self.modules.entry(here.clone()).or_default();
                let said = format!("{name} in {}", source.file.display());
                imports.entry(from).or_default().insert(said);
            }
        }
        let folder = match source.file.file_name() {
            Some(name) if name == "mod.rs" => source.file.with_file_name(""),
            _ => source.file.with_extension(""),
        };
        for module in declared(&tokens) {
            let file = file_of(&folder, &module);
            let path = source.path.iter().cloned().chain([module]).collect();
            self.follow(&Source { file, path });
        }
    }

    /// Every import by which a module reaches itself.
    fn circles(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (module, imports) in &self.modules {
            for (from, said) in imports.iter().filter(|(from, _)| self.reaches(from, module)) {
                found.push(format!("{module} imports {from}: {said:?}"));
            }
        }
        found
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            if module == to {
                return true;
            }
            if seen.insert(module) {
                open.extend(
                    self.modules.get(module).iter().flat_map(|imports| imports.keys()).map(String::as_str),
                );
            }
        }
        false
    }
}

fn file_of(folder: &Path, module: &str) -> PathBuf {
    let file = folder.join(module).with_extension("rs");
    if file.exists() { file } else { folder.join(module).join("mod.rs") }
}

/// The tokens of a file, without the items that are compiled for tests alone.
fn tokens(file: &Path) -> Vec<TokenTree> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let stream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    without_tests(stream)
}

fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut rest = stream.into_iter().peekable();
    while let Some(token) = rest.next() {
        if is_mark(&token, '#') && rest.peek().is_some_and(is_cfg_test) {
            // The item ends with a semicolon, or with its body.
            rest.by_ref().find(|token| is_mark(token, ';') || is_group(token, Delimiter::Brace));
        } else {
            kept.push(token);
        }
    }
    kept
}

/// Whether this is the bracketed part of `#[cfg(test)]`.
fn is_cfg_test(token: &TokenTree) -> bool {
    let text: String = token.to_string().split_whitespace().collect();
    text == "[cfg(test)]"
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

/// The modules that have files of their own: `mod name;`.
fn declared(tokens: &[TokenTree]) -> Vec<String> {
    let names = tokens.windows(3).filter(|three| is_word(&three[0], "mod") && is_mark(&three[2], ';'));
    names.map(|three| three[1].to_string()).collect()
}

/// What a `use` tree brings in: each name, with the first segment of its path.
fn leaves(tree: &[TokenTree], first: Option<&str>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in tree.split(|token| is_mark(token, ',')) {
        let words = part.iter().filter(|token| matches!(token, TokenTree::Ident(_)));
        let words: Vec<_> = words.map(ToString::to_string).filter(|word| word != "as").collect();
        let own = words.iter().find(|word| !["crate", "self"].contains(&word.as_str()));
        let Some(first) = first.or(own.map(String::as_str)) else { continue };
        match part.last() {
            Some(TokenTree::Group(group)) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                found.extend(leaves(&inner, Some(first)));
            }
            Some(TokenTree::Ident(name)) => found.push((name.to_string(), first.to_owned())),
            _ => {}
        }
    }
    found
}

/// The names that are taken from the crate's root: by `crate::`, or by as many `super::` as the module is deep.
fn from_root(tokens: &[TokenTree], depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let path = &tokens[index..];
        let up = path.chunks(3).take_while(|step| step.len() == 3 && is_step(step, "super")).count();
        let start = if path.len() > 3 && is_step(path, "crate") {
            3
        } else if up > 0 && up == depth {
            3 * up
        } else {
            0
        };
        match (start, path.get(start)) {
            (1.., Some(TokenTree::Ident(name))) => found.push(name.to_string()),
            (1.., Some(TokenTree::Group(group))) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                let parts = inner.split(|token| is_mark(token, ','));
                found.extend(parts.filter_map(|part| part.first()).map(ToString::to_string));
            }
            (_, _) => {}
        }
        if let TokenTree::Group(group) = &path[0] {
            let inner_depth = depth + usize::from(follows_inline_module(tokens, index));
            found.extend(from_root(&without_tests(group.stream()), inner_depth));
        }
        // All of a run of `super::` at once: its tail is no path of its own.
        index += if up > 0 { 3 * up } else { 1 };
    }
    found
}

/// Whether `tokens` begin with `word ::`.
fn is_step(tokens: &[TokenTree], word: &str) -> bool {
    is_word(&tokens[0], word) && is_mark(&tokens[1], ':') && is_mark(&tokens[2], ':')
}

/// Whether the group at `index` is the body of `mod name { .. }`.
fn follows_inline_module(tokens: &[TokenTree], index: usize) -> bool {
    index >= 2 && is_word(&tokens[index - 2], "mod") && is_group(&tokens[index], Delimiter::Brace)
}

/// The library in `folder` of the source tree has `folders` and no circle.
fn no_circle(folder: &str, folders: &[&str]) {
    let library = Library::read(&workspace::root().join(folder));
    for folder in folders {
        assert!(library.modules.contains_key(*folder), "{folder} is no module of the library any more");
    }
    let edges: usize = library.modules.values().map(Imports::len).sum();
    assert!(edges >= library.modules.len(), "only {edges} imports were found");
    let circles = library.circles();
    assert!(circles.is_empty(), "{folder} imports in a circle:\n{}", circles.join("\n"));
}

#[test]
fn the_guest_has_no_circle() {
    no_circle("guest/src", &["conduit", "fake", "ims", "msix", "session"]);
}

#[test]
fn the_host_has_no_circle() {
    let folders = [
        "counters",
        "device",
        "emulation",
        "fake",
        "irte",
        "isolation",
        "kvm",
        "line",
        "message",
        "pci",
        "service",
        "trapped",
        "vfio",
    ];
    no_circle("host/src", &folders);
}

#[test]
fn the_vmm_has_no_circle() {
    let folders = ["boot", "devices", "host_commands", "observation", "pci", "vcpu", "vm"];
    no_circle("host/vmm/src", &folders);
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let found = |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let circles = Library::read(folder.path()).circles();
        circles.iter().map(|circle| circle.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let root = ("lib.rs", "mod a; mod b; mod c; pub use c::{D, inner::E as F}; pub use other as name;");
    let none: [&str; 0] = [];
    let both = ["a imports b", "b imports a"];
    let plain =
        [root, ("a.rs", "use crate::b::X;"), ("b.rs", "// crate::a\n"), ("c.rs", "use crate::{a, b, name};")];
    assert_eq!(found(&plain), none);
    for back in [
        "use crate::a::Y;",
        "use crate::{c::D, a};",
        "use super::a;",
        "fn f() { matches!(x, crate::a::Y) }",
        "mod inner { use super::super::a; }",
        "mod deep;",
    ] {
        let files = [root, plain[1], ("b.rs", back), ("b/deep.rs", "use super::super::a;"), ("c.rs", "")];
        assert_eq!(found(&files), both, "{back}");
    }
    for apart in
        ["#[cfg(test)] mod tests { use crate::a; }", "#[cfg(test)] mod tests;", "mod inner { use super::a; }"]
    {
        assert_eq!(found(&[root, plain[1], ("b.rs", apart), ("c.rs", "")]), none, "{apart}");
    }
    let by_root = [
        root,
        ("a.rs", "use crate::F;"),
        ("b.rs", ""),
        ("c/mod.rs", "use crate::b;"),
        ("b.rs", "use crate::a;"),
    ];
    assert_eq!(found(&by_root), ["a imports c", "b imports a", "c imports b"]);
}
