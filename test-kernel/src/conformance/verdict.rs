//! What became of a statement.

use arrayvec::ArrayString;
use core::fmt::{self, Write};

/// What a statement came to, if the host does not keep it or cannot be asked.
#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// The host does not keep it.
    Wrong(ArrayString<240>),
    /// The device or the machine at hand cannot show it.
    CannotShow(&'static str),
}

/// `Ok`: the host keeps the statement, as far as it was asked.
pub(super) type Verdict = Result<(), Finding>;

/// The host does not keep it, in these words.
pub(super) fn wrong(what: fmt::Arguments<'_>) -> Finding {
    let mut text = ArrayString::new();
    // What does not fit is left out.
    let _ = text.write_fmt(what);
    Finding::Wrong(text)
}

/// Ends the function with a finding unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($argument:tt)+) => {
        if !$condition {
            return Err($crate::conformance::verdict::wrong(format_args!($($argument)+)));
        }
    };
}
pub(super) use ensure;
