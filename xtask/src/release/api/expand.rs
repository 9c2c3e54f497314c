//! A library's source after its macros: what derives, `bitflags!` and its own macros make is part of its API.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::build::workspace;
use crate::process::output;

/// To print expanded source is an unstable option of rustc, which a stable one takes with this variable. Set for cargo it
/// would reach the build scripts of dependencies, and have them compiled anew; so it is set for the libraries alone.
const WRAPPER: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec \"$@\"\n";

/// The expanded source of `library` with these features.
pub(super) fn expanded(library: &str, features: &[&str]) -> Result<syn::File> {
    let mut cargo = workspace::cargo();
    cargo.args(["rustc", "--quiet", "--lib", "--profile", "check", "--package", library]).args(features);
    cargo.args(["--", "-Zunpretty=expanded"]).env("RUSTC_WORKSPACE_WRAPPER", wrapper()?);
    let text = output(&mut cargo)?;
    let tokens: TokenStream = text
        .parse()
        .map_err(|error| anyhow::anyhow!("{library}: its expanded source is no Rust: {error}"))?;
    syn::parse2(readable(tokens)).with_context(|| format!("{library}: cannot read its expanded source"))
}

fn wrapper() -> Result<PathBuf> {
    let path = workspace::target_dir("expanding-rustc");
    // not while another runs it
    if fs::read_to_string(&path).is_ok_and(|text| text == WRAPPER) {
        return Ok(path);
    }
    let folder = workspace::target_dir("");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(&path, WRAPPER).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Leaves out what may be no Rust that others read, and is no part of an API: the bodies of functions, in which rustc
/// drops parentheses that it does not need itself; and the rest of `builtin # offset_of(...)`.
fn readable(tokens: TokenStream) -> TokenStream {
    let mut tokens = tokens.into_iter().peekable();
    let mut readable = Vec::new();
    let mut awaits_body = false;
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Ident(word) if word == "fn" => {
                // and not the type of a pointer
                awaits_body |= matches!(tokens.peek(), Some(TokenTree::Ident(_)));
            }
            TokenTree::Ident(word) if word == "builtin" => {
                if tokens.next_if(|next| is_mark(next, '#')).is_some() {
                    tokens.by_ref().take(2).for_each(drop);
                }
            }
            TokenTree::Group(group) => {
                let is_body = awaits_body && group.delimiter() == Delimiter::Brace;
                awaits_body &= !is_body;
                let inner = if is_body { TokenStream::new() } else { self::readable(group.stream()) };
                readable.push(TokenTree::Group(Group::new(group.delimiter(), inner)));
                continue;
            }
            token => awaits_body &= !is_mark(token, ';'),
        }
        readable.push(token);
    }
    readable.into_iter().collect()
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_compiler_keeps_to_itself_becomes_a_name() {
        let tokens: TokenStream = "const A: usize = { builtin # offset_of(B<1>, c) + 1 };".parse().unwrap();
        let expected: TokenStream = "const A: usize = { builtin + 1 };".parse().unwrap();
        assert_eq!(readable(tokens).to_string(), expected.to_string());
        let plain: TokenStream = "#[a] let builtin = 1;".parse().unwrap();
        assert_eq!(readable(plain.clone()).to_string(), plain.to_string());
    }

    #[test]
    fn bodies_are_left_out_and_nothing_else_in_braces_is() {
        let tokens: TokenStream =
            "impl A { fn a(f: fn() -> u8) -> B where C: D { a < b as c < d } fn e(); } struct F { g: fn(u8) }".parse().unwrap();
        let expected: TokenStream =
            "impl A { fn a(f: fn() -> u8) -> B where C: D {} fn e(); } struct F { g: fn(u8) }"
                .parse()
                .unwrap();
        assert_eq!(readable(tokens).to_string(), expected.to_string());
    }
}
