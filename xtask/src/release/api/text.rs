//! Tokens as a person would write them on one line.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// The text of a piece of source, on one line.
pub(super) fn text(piece: &impl ToTokens) -> String {
    let mut words = Vec::new();
    flatten(piece.to_token_stream(), &mut words);
    while let Some(at) = words.windows(2).position(|pair| pair == ["<", ">"]) {
        words.drain(at..at + 2);
    }
    let mut line = String::new();
    let mut before: Option<&str> = None;
    for (position, word) in words.iter().enumerate() {
        // a comma that nothing follows is nobody's
        let closes = matches!(words.get(position + 1).map(String::as_str), Some(")" | ">" | "}") | None);
        if word == "," && closes && before != Some("(") && !is_single(&words[..position]) {
            continue;
        }
        if before.is_some_and(|before| is_apart(before, word)) {
            line.push(' ');
        }
        line.push_str(word);
        before = Some(word);
    }
    line
}

/// Whether what stands before a comma is the only member of a tuple, whose comma is its own.
fn is_single(before: &[String]) -> bool {
    let mut depth = 0;
    for word in before.iter().rev() {
        match word.as_str() {
            ")" | "]" | ">" => depth += 1,
            "(" if depth == 0 => return true,
            "<" | "{" if depth == 0 => return false,
            "(" | "[" | "<" => depth -= 1,
            "," | ":" if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

fn flatten(tokens: TokenStream, words: &mut Vec<String>) {
    let mut joined = String::new();
    for token in tokens {
        match token {
            TokenTree::Punct(mark) => {
                joined.push(mark.as_char());
                let is_pair = matches!(joined.as_str(), "::" | "->" | "=>" | "..");
                let may_go_on = matches!(joined.as_str(), ":" | "-" | "=" | ".");
                if is_pair || mark.spacing() == Spacing::Alone || !may_go_on {
                    words.push(std::mem::take(&mut joined));
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                words.extend((!open.is_empty()).then(|| open.to_owned()));
                flatten(group.stream(), words);
                words.extend((!close.is_empty()).then(|| close.to_owned()));
            }
            TokenTree::Ident(name) => words.push(name.to_string()),
            TokenTree::Literal(literal) => words.push(literal.to_string()),
        }
    }
}

/// Whether a blank stands between two words.
fn is_apart(before: &str, after: &str) -> bool {
    let is_name = |word: &str| word.starts_with(|symbol: char| symbol.is_alphanumeric() || symbol == '_');
    match (before, after) {
        (",", ")") => false,
        ("," | ":" | "->" | "=" | "+" | ";" | "{", _) | (_, "{" | "}" | "=" | "+" | "->") => true,
        ("(" | "[" | "&" | "::" | "<" | "'" | "!" | "#" | "*" | "?" | "-", _) => false,
        (_, ")" | "]" | "," | ";" | ":" | ">" | "?" | "." | "!") => false,
        ("where" | "as" | "dyn" | "mut" | "const" | "for", "::" | "(" | "<") => {
            before != "for" || after != "<"
        }
        (_, "::") => false,
        (before, "(" | "<") => !is_name(before) && before != ">",
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_kept(line: &str) {
        let tokens: TokenStream = line.parse().unwrap();
        assert_eq!(text(&tokens), line);
    }

    #[test]
    fn source_that_is_well_written_stays_as_it_is() {
        assert_kept("pub fn a<'a, T: B + ?Sized>(&'a mut self, b: &[u8], c: [u8; 4]) -> Result<(), C<'a>>");
        assert_kept("impl<T> From<T> for d::E where T: Fn(u32) -> bool, <T as F>::G: H");
        assert_kept("pub const I: *const u8");
        assert_kept("for<'a> fn(&'a str) -> !");
        assert_kept("pub fn j(k: (u8, u16), l: Box<dyn M + Send>) -> impl Iterator<Item = (N,)>");
        assert_kept("#[non_exhaustive] pub struct O");
    }

    #[test]
    fn blanks_and_commas_that_say_nothing_go() {
        let tokens: TokenStream = "fn a < > ( b : & 'a  c :: D , e : F < G , > , )".parse().unwrap();
        assert_eq!(text(&tokens), "fn a(b: &'a c::D, e: F<G>)");
    }
}
