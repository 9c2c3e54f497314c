//! A bound on what a guest can make the host write to its log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lets the first [`LogLimit::LINES`] lines through and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    asked: AtomicU64,
}

impl LogLimit {
    /// Lines that one VM may cause in its life. Each is well under 512 bytes: 32 KiB in all.
    pub(crate) const LINES: u64 = 64;

    /// Logs `line` while there is room for it. The last line that passes says that no more will.
    pub(crate) fn warn(&self, line: impl FnOnce() -> String) {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if asked > Self::LINES {
            return;
        }
        let line = line();
        let last = if asked == Self::LINES { " (further messages of this VM are counted only)" } else { "" };
        tracing::warn!("{line}{last}");
    }

    /// Lines that were asked for, logged or not.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
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
