//! The statements and statuses of `docs/abi.md`, and what of each a guest can see.
//!
//! This is the conformance suite's table of contents: the kernel has a function for each line that is
//! [`Kind::Observed`] (compared when it is built), and `tests/statements.rs` holds the lines against the page.

mod page;
mod statuses;

pub use page::STATEMENTS;
pub use statuses::STATUSES;

/// A statement or a status of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its number on the page, such as `M5`, or the name of the status.
    pub id: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// Whether a guest can judge it.
    pub kind: Kind,
}

/// What a guest can see of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The suite judges it.
    Observed,
    /// No guest can, for this reason.
    NotObservable(&'static str),
}

const fn observed(id: &'static str, title: &'static str) -> Statement {
    Statement { id, title, kind: Kind::Observed }
}

const fn hidden(id: &'static str, title: &'static str, reason: &'static str) -> Statement {
    Statement { id, title, kind: Kind::NotObservable(reason) }
}

/// Whether two names are the same, at compile time too.
#[must_use]
pub const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    a.len() == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_whole() {
        assert!(same("M1", "M1") && same("", ""));
        assert!(!same("M1", "M10") && !same("M10", "M1") && !same("M1", "W1"));
    }
}
