//! What a name in a library's source stands for, and by which path others reach it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use syn::{Attribute, File, Item, UseTree, Visibility};

/// The path of a module from the library's root, which is empty itself.
pub(super) type ModulePath = Vec<String>;

/// How far imports of imports are followed, so that a circle of them ends.
const DEEPEST: usize = 16;

/// A library, read.
pub(super) struct Library {
    /// Its name in source.
    pub(super) name: String,
    pub(super) modules: BTreeMap<ModulePath, Module>,
    exports: Exports,
}

pub(super) struct Module {
    is_public: bool,
    pub(super) items: Vec<Item>,
    imports: Vec<Import>,
}

struct Import {
    is_public: bool,
    /// The name in this module; none for all that is there.
    name: Option<String>,
    from: Vec<String>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Module(ModulePath),
    /// An item of a module.
    Item(ModulePath, String),
    /// Another crate's, by its path there, or a name that stands for nothing known: of the prelude, or generic.
    Foreign(Vec<String>),
}

/// What is reached from outside.
#[derive(Default)]
struct Exports {
    items: BTreeMap<(ModulePath, String), BTreeSet<String>>,
    /// What is re-exported of other crates.
    foreign: BTreeSet<(String, String)>,
}

impl Library {
    pub(super) fn read(package: &str, file: &File) -> Result<Self> {
        let mut library =
            Self { name: package.replace('-', "_"), modules: BTreeMap::new(), exports: Exports::default() };
        library.add(Vec::new(), true, &file.items)?;
        let mut exports = Exports::default();
        library.export(&Vec::new(), &library.name, &mut exports, DEEPEST);
        for (path, module) in &library.modules {
            for item in module.items.iter().filter(|item| matches!(item, Item::Macro(_))) {
                // exported macros are at the root, wherever they are written
                let Some((name, _)) = named(item) else { continue };
                let public = format!("{}::{name}", library.name);
                exports.items.entry((path.clone(), name)).or_default().insert(public);
            }
        }
        library.exports = exports;
        Ok(library)
    }

    fn add(&mut self, path: ModulePath, is_public: bool, items: &[Item]) -> Result<()> {
        let mut module = Module { is_public, items: Vec::new(), imports: Vec::new() };
        for item in items {
            match item {
                Item::Mod(inner) => {
                    let (_, items) = inner.content.as_ref().context("a module without content")?;
                    let is_public = is_public_item(&inner.vis, &inner.attrs);
                    self.add(joined(&path, &inner.ident.to_string()), is_public, items)?;
                }
                Item::Use(import) => {
                    let prefix =
                        if import.leading_colon.is_some() { vec![String::new()] } else { Vec::new() };
                    let is_public = is_public_item(&import.vis, &import.attrs);
                    module.import(is_public, prefix, &import.tree);
                }
                Item::ExternCrate(other) => {
                    let name = other.rename.as_ref().map_or(&other.ident, |(_, name)| name).to_string();
                    let from = vec![String::new(), other.ident.to_string()];
                    module.imports.push(Import { is_public: false, name: Some(name), from });
                }
                other => module.items.push(other.clone()),
            }
        }
        self.modules.insert(path, module);
        Ok(())
    }

    /// Notes all that is reached through a module which others know as `prefix`.
    fn export(&self, path: &ModulePath, prefix: &str, exports: &mut Exports, depth: usize) {
        let (Some(module), Some(depth)) = (self.modules.get(path), depth.checked_sub(1)) else { return };
        for item in &module.items {
            let Some((name, is_public)) = named(item) else { continue };
            if is_public && !matches!(item, Item::Macro(_)) {
                exports
                    .items
                    .entry((path.clone(), name.clone()))
                    .or_default()
                    .insert(format!("{prefix}::{name}"));
            }
        }
        for (inner, module) in &self.modules {
            if inner.len() == path.len() + 1 && inner.starts_with(path) && module.is_public {
                self.export(inner, &format!("{prefix}::{}", inner[path.len()]), exports, depth);
            }
        }
        for import in module.imports.iter().filter(|import| import.is_public) {
            let (target, used) = self.resolve(path, &import.from, DEEPEST);
            let public =
                import.name.as_ref().map_or_else(|| prefix.to_owned(), |name| format!("{prefix}::{name}"));
            match target {
                Target::Module(inner) if used == import.from.len() => {
                    self.export(&inner, &public, exports, depth);
                }
                Target::Item(module, name) if used == import.from.len() => {
                    exports.items.entry((module, name)).or_default().insert(public);
                }
                Target::Foreign(from) => {
                    let public = if import.name.is_none() { format!("{public}::*") } else { public };
                    exports.foreign.insert((from.join("::"), public));
                }
                // variants of an enumeration, whose names are theirs already
                Target::Module(_) | Target::Item(..) => {
                    exports.foreign.insert((import.from.join("::"), public));
                }
            }
        }
    }

    /// What a path stands for in a module, and how many of its segments that took. The first segment is empty for a path
    /// that begins with `::`.
    pub(super) fn resolve(&self, module: &ModulePath, path: &[String], depth: usize) -> (Target, usize) {
        let foreign =
            || (Target::Foreign(path.iter().filter(|name| !name.is_empty()).cloned().collect()), path.len());
        let Some(first) = path.first() else { return foreign() };
        let mut used = 1;
        let mut target = match first.as_str() {
            "" => return foreign(),
            "crate" => Target::Module(Vec::new()),
            "self" => Target::Module(module.clone()),
            "super" => Target::Module(parent(module)),
            name => match self.lookup(module, name, depth) {
                Some(target) => target,
                None => return foreign(),
            },
        };
        while let (Target::Module(here), Some(name)) = (&target, path.get(used)) {
            target = match (name.as_str(), self.lookup(here, name, depth)) {
                ("super", _) => Target::Module(parent(here)),
                (_, Some(target)) => target,
                (_, None) => return foreign(),
            };
            used += 1;
        }
        if let Target::Foreign(names) = &target {
            let rest = path.iter().skip(used).cloned();
            return (Target::Foreign(names.iter().cloned().chain(rest).collect()), path.len());
        }
        (target, used)
    }

    fn lookup(&self, path: &ModulePath, name: &str, depth: usize) -> Option<Target> {
        let depth = depth.checked_sub(1)?;
        let inner = joined(path, name);
        if self.modules.contains_key(&inner) {
            return Some(Target::Module(inner));
        }
        let module = self.modules.get(path)?;
        if module.items.iter().any(|item| named(item).is_some_and(|(other, _)| other == name)) {
            return Some(Target::Item(path.clone(), name.to_owned()));
        }
        if let Some(import) = module.imports.iter().find(|import| import.name.as_deref() == Some(name)) {
            // `use log;` and the like lead out of here, and not to themselves
            if import.from.as_slice() == [name.to_owned()] {
                return Some(Target::Foreign(import.from.clone()));
            }
            let (target, used) = self.resolve(path, &import.from, depth);
            return (used == import.from.len()).then_some(target);
        }
        module.imports.iter().filter(|import| import.name.is_none()).find_map(|import| {
            let (target, _) = self.resolve(path, &import.from, depth);
            let Target::Module(inner) = target else { return None };
            (inner != *path).then(|| self.lookup(&inner, name, depth)).flatten()
        })
    }

    /// The path by which others reach an item, the shortest of several; none if they cannot.
    pub(super) fn public_path(&self, module: &ModulePath, name: &str) -> Option<&str> {
        let paths = self.exports.items.get(&(module.clone(), name.to_owned()))?;
        paths.iter().map(String::as_str).min_by_key(|path| (path.matches("::").count(), *path))
    }

    /// What has another path besides: re-exports, within the library and of other crates, each with what it is.
    pub(super) fn aliases(&self) -> Vec<(String, String)> {
        let foreign = self.exports.foreign.iter().cloned();
        let own = self.exports.items.iter().flat_map(|((module, name), paths)| {
            let first = self.public_path(module, name).unwrap_or_default();
            paths.iter().filter(move |path| *path != first).map(move |path| (first.to_owned(), path.clone()))
        });
        foreign.chain(own).collect()
    }
}

impl Module {
    fn import(&mut self, is_public: bool, prefix: Vec<String>, tree: &UseTree) {
        let with = |name: &syn::Ident| joined(&prefix, &name.to_string());
        match tree {
            UseTree::Path(path) => self.import(is_public, with(&path.ident), &path.tree),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(is_public, prefix.clone(), tree));
            }
            UseTree::Glob(_) => self.imports.push(Import { is_public, name: None, from: prefix }),
            UseTree::Name(name) if name.ident == "self" => {
                self.imports.push(Import { is_public, name: prefix.last().cloned(), from: prefix });
            }
            UseTree::Name(name) => {
                self.imports.push(Import {
                    is_public,
                    name: Some(name.ident.to_string()),
                    from: with(&name.ident),
                });
            }
            UseTree::Rename(name) => {
                let from = if name.ident == "self" { prefix.clone() } else { with(&name.ident) };
                self.imports.push(Import { is_public, name: Some(name.rename.to_string()), from });
            }
        }
    }
}

/// The name of an item, and whether it is public in its module. A macro is only if it is exported.
pub(super) fn named(item: &Item) -> Option<(String, bool)> {
    let (name, visibility, attributes) = match item {
        Item::Const(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Enum(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Fn(item) => (&item.sig.ident, &item.vis, &item.attrs),
        Item::Static(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Struct(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Trait(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Type(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Union(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Macro(item) => {
            let is_exported = item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
            let name = item.ident.as_ref().filter(|_| is_exported && !is_hidden(&item.attrs))?;
            return Some((name.to_string(), true));
        }
        _ => return None,
    };
    Some((name.to_string(), is_public_item(visibility, attributes)))
}

/// What is hidden from the documentation is no promise.
pub(super) fn is_public_item(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    matches!(visibility, Visibility::Public(_)) && !is_hidden(attributes)
}

pub(super) fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
        .any(|attribute| attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "hidden"))
}

fn joined(path: &[String], name: &str) -> ModulePath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

fn parent(path: &ModulePath) -> ModulePath {
    path.split_last().map_or_else(Vec::new, |(_, parent)| parent.to_vec())
}
