//! A bound on the number of log lines that a guest can cause.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lets the first [`LogLimit::LINES`] warnings and the first [`LogLimit::NOTICES`] notices of a VM through, and
/// counts the rest.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    warnings: AtomicU64,
    notices: AtomicU64,
}

impl LogLimit {
    /// Warnings that one VM may cause while it lives. Each line is shorter than 512 bytes, so this is at most 32 KiB.
    pub(crate) const LINES: u64 = 64;
    /// Notices that one VM may cause while it lives. They take no room from the warnings.
    pub(crate) const NOTICES: u64 = 16;

    /// Logs a warning while there is room for it. The last line that passes says that no more will.
    pub(crate) fn warn(&self, line: impl FnOnce() -> String) {
        if let Some(line) = pass(&self.warnings, Self::LINES, line) {
            tracing::warn!("{line}");
        }
    }

    /// Logs a notice of something that a guest may do at any time, while there is room for it.
    pub(crate) fn info(&self, line: impl FnOnce() -> String) {
        if let Some(line) = pass(&self.notices, Self::NOTICES, line) {
            tracing::info!("{line}");
        }
    }

    /// Number of lines so far, logged or suppressed.
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
