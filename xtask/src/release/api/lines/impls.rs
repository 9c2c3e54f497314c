//! What is implemented: methods of types, and traits for types.

use syn::{Expr, ImplItem, Item, ItemImpl, Stmt, Type};

use super::{Line, generics, qualify, signature, spaced, text};
use crate::release::api::names::{Library, ModulePath, Target, is_hidden, is_public_item, named};

/// Traits that derives implement for the compiler's own use.
const OF_THE_COMPILER: [&str; 3] = ["StructuralPartialEq", "TrivialClone", "UseCloned"];
/// What zerocopy's derives are asked for. What else they implement is their own business.
const OF_ZEROCOPY: [&str; 7] =
    ["FromBytes", "FromZeros", "Immutable", "IntoBytes", "KnownLayout", "TryFromBytes", "Unaligned"];

/// Adds what an item implements. Derives put theirs into the block of a `const _`, among types of their own.
pub(super) fn collect(library: &Library, module: &ModulePath, item: &Item, lines: &mut Vec<Line>) {
    gather(library, module, item, &[], lines);
}

fn gather(library: &Library, module: &ModulePath, item: &Item, own: &[String], lines: &mut Vec<Line>) {
    match item {
        Item::Impl(item) => implemented(library, module, item, own, lines),
        Item::Const(item) if item.ident == "_" => {
            let Expr::Block(block) = &*item.expr else { return };
            let items = || {
                block.block.stmts.iter().filter_map(|statement| match statement {
                    Stmt::Item(item) => Some(item),
                    _ => None,
                })
            };
            let mut own = own.to_vec();
            own.extend(items().filter_map(named).map(|(name, _)| name));
            items().for_each(|item| gather(library, module, item, &own, lines));
        }
        _ => {}
    }
}

fn implemented(
    library: &Library,
    module: &ModulePath,
    item: &ItemImpl,
    own: &[String],
    lines: &mut Vec<Line>,
) {
    if is_hidden(&item.attrs) {
        return;
    }
    // the path of the type by which it is known to others, or the text of one that is nobody's or another crate's
    let Some(owner) = owner(library, module, &item.self_ty, own) else { return };
    let is_derived = item.attrs.iter().any(|attribute| attribute.path().is_ident("automatically_derived"));
    let mut item = item.clone();
    item.attrs.clear();
    if let Some((_, path, _)) = &item.trait_ {
        if !is_told_of(library, module, path) {
            return;
        }
    }
    let mut whole = Item::Impl(item);
    qualify::item(library, module, &mut whole);
    let Item::Impl(mut item) = whole else { return };
    let of_zerocopy = item
        .trait_
        .as_ref()
        .is_some_and(|(_, path, _)| path.segments.first().is_some_and(|first| first.ident == "zerocopy"));
    if (is_derived || of_zerocopy) && item.generics.params.is_empty() {
        // it holds, or it would not compile
        item.generics.where_clause = None;
    }
    let (head, clause) = generics(&item.generics);
    let subject = text(&item.self_ty);
    if let Some((negation, path, _)) = &item.trait_ {
        let unsafety = spaced(&text(&item.unsafety));
        let negation = negation.map_or("", |_| "!");
        let types: Vec<_> = item.items.iter().filter(|_| !of_zerocopy).filter_map(associated).collect();
        let types = if types.is_empty() { String::new() } else { format!(" {{ {} }}", types.join("; ")) };
        let name = text(path);
        lines.push((owner, format!("{unsafety}impl{head} {negation}{name} for {subject}{clause}{types}")));
        return;
    }
    let context = if head.is_empty() { String::new() } else { format!("impl{head} {subject}{clause}: ") };
    for member in &item.items {
        if let Some(line) = method(member, &owner) {
            lines.push((owner.clone(), format!("{context}{line}")));
        }
    }
}

/// By which name the record knows the type of an implementation; none for a type that others do not see.
fn owner(library: &Library, module: &ModulePath, subject: &Type, own: &[String]) -> Option<String> {
    let Type::Path(path) = subject else { return Some(text(subject)) };
    let names = qualify::names(&path.path);
    if names.len() == 1 && own.contains(&names[0]) {
        return None;
    }
    match library.resolve(module, &names, 16).0 {
        Target::Item(module, name) => library.public_path(&module, &name).map(str::to_owned),
        Target::Foreign(names) => Some(names.join("::")),
        Target::Module(_) => None,
    }
}

/// Whether others know the trait, and it is not the compiler's or a derive's own.
fn is_told_of(library: &Library, module: &ModulePath, path: &syn::Path) -> bool {
    match library.resolve(module, &qualify::names(path), 16).0 {
        Target::Item(module, name) => library.public_path(&module, &name).is_some(),
        Target::Module(_) => false,
        Target::Foreign(names) => {
            let names = qualify::without_detour(names);
            if names.iter().any(|name| name.starts_with("__private")) {
                return false;
            }
            let last = names.last().map_or("", String::as_str);
            let is_zerocopy = names.first().is_some_and(|name| name == "zerocopy");
            !OF_THE_COMPILER.contains(&last) && (!is_zerocopy || OF_ZEROCOPY.contains(&last))
        }
    }
}

fn associated(member: &ImplItem) -> Option<String> {
    match member {
        ImplItem::Type(item) => Some(format!("type {} = {}", item.ident, text(&item.ty))),
        _ => None,
    }
}

fn method(member: &ImplItem, owner: &str) -> Option<String> {
    match member {
        ImplItem::Fn(item) if is_public_item(&item.vis, &item.attrs) => {
            Some(format!("pub {}", signature(&item.sig, &format!("{owner}::{}", item.sig.ident))))
        }
        ImplItem::Const(item) if is_public_item(&item.vis, &item.attrs) => {
            Some(format!("pub const {owner}::{}: {}", item.ident, text(&item.ty)))
        }
        _ => None,
    }
}
