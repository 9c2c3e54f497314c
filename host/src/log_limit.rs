//! A bound on what a guest can make the host write to its log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lets the first [`LogLimit::LINES`] warnings and [`LogLimit::NOTICES`] notices through and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    warnings: AtomicU64,
    notices: AtomicU64,
}

impl LogLimit {
    /// Warnings that one VM may cause in its life. Each line is well under 512 bytes: 40 KiB in all.
    pub(crate) const LINES: u64 = 64;
    /// Notices that it may cause; they take no room from the warnings.
    pub(crate) const NOTICES: u64 = 16;

    /// Logs a warning while there is room for it. The last line that passes says that no more will.
    pub(crate) fn warn(&self, line: impl FnOnce() -> String) {
        if let Some(line) = pass(&self.warnings, Self::LINES, line) {
            tracing::warn!("{line}");
        }
    }

    /// Logs what a guest may do at any time, under the same bound.
    pub(crate) fn info(&self, line: impl FnOnce() -> String) {
        if let Some(line) = pass(&self.notices, Self::NOTICES, line) {
            tracing::info!("{line}");
        }
    }

    /// Lines that were asked for, logged or not.
    pub(crate) fn asked(&self) -> u64 {
        self.warnings.load(Ordering::Relaxed) + self.notices.load(Ordering::Relaxed)
    }
}

fn pass(asked: &AtomicU64, max: u64, line: impl FnOnce() -> String) -> Option<String> {
    let asked = asked.fetch_add(1, Ordering::Relaxed) + 1;
    if asked > max {
        return None;
    }
    let mut line = line();
    if asked == max {
        line.push_str(" (further messages of this kind are counted only)");
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_past_the_limit_are_not_even_formatted() {
        let limit = LogLimit::default();
        let mut formatted = 0;
        for _ in 0..1_000_000 {
            limit.warn(|| {
                formatted += 1;
                String::new()
            });
        }
        assert_eq!(formatted, LogLimit::LINES);
        assert_eq!(limit.asked(), 1_000_000);
    }
}
