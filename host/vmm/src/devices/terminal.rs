//! The terminal at stdin: every key goes to the guest at once, except Ctrl-C, which ends the run.

use std::io::{self, IsTerminal};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// The terminal in its changed state; put back when this is dropped.
#[derive(Debug)]
pub(crate) struct CharacterMode {
    before: Termios,
}

impl CharacterMode {
    /// Switches stdin's terminal over; `None` where stdin is none, or this process is in its background.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() || !in_foreground() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &now)?;
        Ok(Some(Self { before }))
    }
}

impl CharacterMode {
    /// Puts the terminal back. It does no harm twice.
    pub(crate) fn restore(&self) {
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &self.before) {
            tracing::warn!("the terminal stays without echo: {error}\nhelp: `stty sane` mends it");
        }
    }
}

impl Drop for CharacterMode {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Whether reading stdin is allowed: a background process would be stopped for it.
pub(crate) fn may_read_stdin() -> bool {
    !io::stdin().is_terminal() || in_foreground()
}

fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground == getpgrp())
}
