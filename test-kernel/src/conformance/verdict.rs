//! What became of a statement.

use crate::machine::cpu::usermode;
use arrayvec::ArrayString;
use core::fmt::{self, Write};
use pvir_guest::abi::Status;
use spin::{Mutex, MutexGuard};

/// Text of one finding.
type Text = ArrayString<240>;

/// Where the texts lie, so that a [`Finding`] is small: most calls return one, and next to none of them has a text. A
/// statement ends with its first finding; the spare ones are for a finding that gives way to another.
static TEXTS: [Mutex<Text>; 4] = [const { Mutex::new(Text::new_const()) }; 4];

/// What a statement came to, if the host does not keep it or cannot be asked.
#[derive(Debug)]
pub(super) enum Finding {
    /// The host does not keep it.
    Wrong(Words),
    /// The device or the machine at hand cannot show it.
    CannotShow(&'static str),
}

/// `Ok`: the host keeps the statement, as far as it was asked.
pub(super) type Verdict = Result<(), Finding>;

/// One of the [`TEXTS`], its own for as long as it lives; nothing if all were taken.
#[derive(Debug)]
pub(super) struct Words(Option<MutexGuard<'static, Text>>);

impl Words {
    fn new(what: fmt::Arguments<'_>) -> Self {
        let mut free = TEXTS.iter().find_map(Mutex::try_lock);
        if let Some(text) = &mut free {
            text.clear();
            // What does not fit is left out.
            let _ = usermode::with_all_instructions(|| text.write_fmt(what));
        }
        Self(free)
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_ref().map_or("too many findings at once for the words of this one", |text| text.as_str())
    }
}

/// A status as a reader of the page knows it.
pub(super) struct Told(pub(super) Status);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name() {
            Some(name) => f.write_str(name),
            None if self.0 == Status::PENDING => f.write_str("not answered"),
            None => write!(f, "{:#x}, which is no status", self.0.0),
        }
    }
}

/// The statuses of records, in their order.
pub(super) struct Each<'s>(pub(super) &'s [Status]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, status) in self.0.iter().enumerate() {
            write!(f, "{}{}", if place == 0 { "" } else { ", " }, Told(*status))?;
        }
        Ok(())
    }
}

/// The host does not keep it, in these words.
pub(super) fn wrong(what: fmt::Arguments<'_>) -> Finding {
    Finding::Wrong(Words::new(what))
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
