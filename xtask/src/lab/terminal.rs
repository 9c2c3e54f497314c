//! The user's terminal, for a command that gets one of its own in L1.

use std::io::{IsTerminal, stdin, stdout};

use lab_wire::WindowSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Passes every key through while it lives.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Nothing if this is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // a terminal that cannot be restored is one that has gone
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// The terminal's size, if both input and output are one.
pub(super) fn size() -> Option<WindowSize> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return None;
    }
    let size = tcgetwinsize(stdout()).ok()?;
    Some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}
