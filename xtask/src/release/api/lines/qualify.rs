//! Puts whole paths in place of names, so that a record does not depend on what a file imports.

use proc_macro2::{Ident, Span};
use syn::visit_mut::{self, VisitMut};
use syn::{Item, Path, PathSegment};

use crate::release::api::names::{Library, ModulePath, Target};

/// How far imports of imports are followed.
const DEEPEST: usize = 16;

/// Qualifies what an item names.
pub(super) fn item(library: &Library, module: &ModulePath, item: &mut Item) {
    Qualifier { library, module }.visit_item_mut(item);
}

/// The names of a path; the first is empty where the path begins with `::`.
pub(super) fn names(path: &Path) -> Vec<String> {
    let colon = path.leading_colon.map(|_| String::new());
    colon.into_iter().chain(path.segments.iter().map(|segment| segment.ident.to_string())).collect()
}

struct Qualifier<'a> {
    library: &'a Library,
    module: &'a ModulePath,
}

impl VisitMut for Qualifier<'_> {
    fn visit_path_mut(&mut self, path: &mut Path) {
        visit_mut::visit_path_mut(self, path);
        let (target, used) = self.library.resolve(self.module, &names(path), DEEPEST);
        let old = std::mem::take(&mut path.segments);
        let (whole, kept) = match target {
            Target::Foreign(whole) => (without_detour(whole), 0),
            Target::Item(module, name) => {
                // what nobody else can name is shown by where it is
                let hidden = || {
                    std::iter::once("crate".to_owned()).chain(module.clone()).chain([name.clone()]).collect()
                };
                let public = self.library.public_path(&module, &name);
                let whole =
                    public.map_or_else(hidden, |public| public.split("::").map(str::to_owned).collect());
                (whole, old.len().saturating_sub(used))
            }
            Target::Module(module) => (std::iter::once("crate".to_owned()).chain(module).collect(), 0),
        };
        // both ends are the same: what is generic in the old path is so in the new one
        let mut new: Vec<PathSegment> = whole.iter().map(|name| segment(name)).collect();
        let replaced = old.len() - kept;
        for (new, old) in new.iter_mut().rev().zip(old.iter().take(replaced).rev()) {
            new.arguments = old.arguments.clone();
        }
        path.leading_colon = None;
        path.segments = new.into_iter().chain(old.into_iter().skip(replaced)).collect();
    }

    /// Bodies are nobody's business.
    fn visit_block_mut(&mut self, _: &mut syn::Block) {}

    fn visit_attribute_mut(&mut self, _: &mut syn::Attribute) {}

    fn visit_macro_mut(&mut self, _: &mut syn::Macro) {}
}

/// Macros reach what they use by paths of their own crate's, some of which are others with each version of it.
pub(super) fn without_detour(mut path: Vec<String>) -> Vec<String> {
    if let Some(at) = path.iter().position(|name| name.starts_with("__private")) {
        let is_error = path[0] == "thiserror" && path[at + 1..] == ["Error"];
        let through =
            if path.get(at + 1).is_some_and(|name| ["core", "std", "alloc"].contains(&name.as_str())) {
                at + 1
            } else {
                0
            };
        path.drain(..through);
        if is_error {
            return ["core", "error", "Error"].map(str::to_owned).to_vec();
        }
    } else if path.first().is_some_and(|name| name == "_serde") {
        "serde".clone_into(&mut path[0]);
    }
    path
}

fn segment(name: &str) -> PathSegment {
    let here = Span::call_site();
    let name =
        name.strip_prefix("r#").map_or_else(|| Ident::new(name, here), |name| Ident::new_raw(name, here));
    PathSegment::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_leads(path: &str, to: &str) {
        let names = path.split("::").map(str::to_owned).collect();
        assert_eq!(without_detour(names).join("::"), to);
    }

    #[test]
    fn what_a_macro_reaches_by_its_own_crate_is_named_as_it_is() {
        assert_leads("bitflags::__private::core::fmt::Binary", "core::fmt::Binary");
        assert_leads("thiserror::__private21::Error", "core::error::Error");
        assert_leads("_serde::Serialize", "serde::Serialize");
        assert_leads("std::fmt::Debug", "std::fmt::Debug");
        assert_leads("bitflags::__private::PublicFlags", "bitflags::__private::PublicFlags");
    }
}
