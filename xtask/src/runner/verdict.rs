//! How a step ended.

use std::fmt;

use anyhow::Result;

/// How a step ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds; a word about it, or nothing.
    Passed(String),
    /// It holds, and what was measured is worth showing.
    Measured { note: String, table: String },
    /// It could not be tried, for this reason.
    Skipped(String),
    /// Many tests at once.
    Counted(Counts),
    /// The user asked us to stop.
    Interrupted,
}

/// How many tests of a step ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    /// One that passed.
    pub(super) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
}

impl Verdict {
    /// It holds, and there is nothing more to say.
    pub(crate) fn passed() -> Self {
        Self::Passed(String::new())
    }
}

/// Ends a step as skipped; `missing` names what it lacks.
pub(crate) fn skip(missing: impl fmt::Display) -> Result<Verdict> {
    Ok(Verdict::Skipped(missing.to_string()))
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}
