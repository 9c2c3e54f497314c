//! The public items of a library, a line for each.

mod impls;
mod qualify;

use syn::{Attribute, Fields, Generics, Item, ItemEnum, ItemStruct, ItemTrait, Signature, TraitItem};

use super::names::{Library, is_hidden, is_public_item, named};
use super::text::text;

/// A line, and the item to which it belongs, for the order of the record.
type Line = (String, String);

/// The lines of a library's record, those of one item together.
pub(super) fn of(library: &Library) -> Vec<String> {
    let mut lines: Vec<Line> = Vec::new();
    for (module, content) in &library.modules {
        for item in &content.items {
            if let Some(path) = named(item).and_then(|(name, _)| library.public_path(module, &name)) {
                let mut item = item.clone();
                qualify::item(library, module, &mut item);
                lines.extend(describe(&item, path).into_iter().map(|line| (path.to_owned(), line)));
            }
            impls::collect(library, module, item, &mut lines);
        }
    }
    for (from, path) in library.aliases() {
        lines.push((path.clone(), format!("pub use {from} as {path}")));
    }
    lines.sort();
    lines.dedup();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The lines of one item without what is implemented for it.
fn describe(item: &Item, path: &str) -> Vec<String> {
    let line = match item {
        Item::Const(item) => format!("pub const {path}: {}", text(&item.ty)),
        Item::Static(item) => {
            let mutable = text(&item.mutability);
            format!("pub static {}{path}: {}", spaced(&mutable), text(&item.ty))
        }
        Item::Fn(item) => format!("pub {}", signature(&item.sig, path)),
        Item::Type(item) => {
            let (head, clause) = generics(&item.generics);
            format!("pub type {path}{head}{clause} = {}", text(&item.ty))
        }
        Item::Macro(_) => format!("pub macro {path}!"),
        Item::Struct(item) => return structure(item, path),
        Item::Enum(item) => return enumeration(item, path),
        Item::Trait(item) => return interface(item, path),
        Item::Union(item) => {
            let (head, clause) = generics(&item.generics);
            return with_fields(
                &format!("{}pub union {path}{head}{clause}", attributes(&item.attrs)),
                &Fields::Named(item.fields.clone()),
                path,
            );
        }
        _ => return Vec::new(),
    };
    vec![line]
}

fn structure(item: &ItemStruct, path: &str) -> Vec<String> {
    let (head, clause) = generics(&item.generics);
    let line = format!("{}pub struct {path}{head}{clause}", attributes(&item.attrs));
    with_fields(&line, &item.fields, path)
}

/// A line for each public field; the first says whether there are others, so that nobody else can make a value.
fn with_fields(line: &str, fields: &Fields, path: &str) -> Vec<String> {
    let is_public = |field: &&syn::Field| is_public_item(&field.vis, &field.attrs);
    let private = if fields.iter().all(|field| is_public(&field)) { "" } else { " { .. }" };
    let public = fields.iter().enumerate().filter(|(_, field)| is_public(field)).map(|(index, field)| {
        let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
        format!("pub {path}::{name}: {}", text(&field.ty))
    });
    std::iter::once(format!("{line}{private}")).chain(public).collect()
}

fn enumeration(item: &ItemEnum, path: &str) -> Vec<String> {
    let (head, clause) = generics(&item.generics);
    let line = format!("{}pub enum {path}{head}{clause}", attributes(&item.attrs));
    let variants = item.variants.iter().filter(|variant| !is_hidden(&variant.attrs)).map(|variant| {
        let mut shown = variant.clone();
        shown.attrs.clear();
        shown.fields.iter_mut().for_each(|field| field.attrs.clear());
        format!("{}pub {path}::{}", attributes(&variant.attrs), text(&shown))
    });
    std::iter::once(line).chain(variants).collect()
}

fn interface(item: &ItemTrait, path: &str) -> Vec<String> {
    let (head, clause) = generics(&item.generics);
    let unsafety = spaced(&text(&item.unsafety));
    let colon = if item.supertraits.is_empty() { "" } else { ": " };
    let supertraits = text(&item.supertraits);
    let line =
        format!("{}pub {unsafety}trait {path}{head}{colon}{supertraits}{clause}", attributes(&item.attrs));
    let members = item.items.iter().filter_map(|member| member_of_trait(member, path));
    std::iter::once(line).chain(members).collect()
}

/// What a trait asks for; what it provides ends in `{ .. }`.
fn member_of_trait(member: &TraitItem, path: &str) -> Option<String> {
    let provided = |is: bool| if is { " { .. }" } else { "" };
    match member {
        TraitItem::Fn(item) if !is_hidden(&item.attrs) => Some(format!(
            "{}{}",
            signature(&item.sig, path_of(path, &item.sig).as_str()),
            provided(item.default.is_some())
        )),
        TraitItem::Const(item) if !is_hidden(&item.attrs) => Some(format!(
            "const {path}::{}: {}{}",
            item.ident,
            text(&item.ty),
            provided(item.default.is_some())
        )),
        TraitItem::Type(item) if !is_hidden(&item.attrs) => {
            let (head, clause) = generics(&item.generics);
            let bounds = text(&item.bounds);
            let colon = if bounds.is_empty() { "" } else { ": " };
            Some(format!("type {path}::{}{head}{colon}{bounds}{clause}", item.ident))
        }
        _ => None,
    }
}

fn path_of(path: &str, signature: &Signature) -> String {
    format!("{path}::{}", signature.ident)
}

/// A signature with the function's whole path in place of its name. What a body may do to its arguments is not part of it.
fn signature(signature: &Signature, path: &str) -> String {
    let mut signature = signature.clone();
    for input in &mut signature.inputs {
        match input {
            syn::FnArg::Receiver(receiver) => {
                receiver.attrs.clear();
                if receiver.reference.is_none() {
                    receiver.mutability = None;
                }
            }
            syn::FnArg::Typed(argument) => {
                argument.attrs.clear();
                if let syn::Pat::Ident(name) = &mut *argument.pat {
                    name.mutability = None;
                }
            }
        }
    }
    let name = format!("fn {}", signature.ident);
    text(&signature).replacen(&name, &format!("fn {path}"), 1)
}

/// `<T>`, and ` where ...`.
fn generics(generics: &Generics) -> (String, String) {
    let clause = generics.where_clause.as_ref().filter(|clause| !clause.predicates.is_empty());
    let clause = clause.map_or_else(String::new, |clause| format!(" {}", text(clause)));
    let head = if generics.params.is_empty() { String::new() } else { text(generics) };
    (head, clause)
}

/// The attributes that others depend on.
fn attributes(attributes: &[Attribute]) -> String {
    let kept = attributes
        .iter()
        .filter(|attribute| ["non_exhaustive", "repr"].iter().any(|name| attribute.path().is_ident(name)));
    kept.map(|attribute| format!("{} ", text(attribute))).collect()
}

fn spaced(word: &str) -> String {
    if word.is_empty() { String::new() } else { format!("{word} ") }
}

#[cfg(test)]
mod tests;
