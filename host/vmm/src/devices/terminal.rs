//! The terminal at stdin: every key goes to the guest at once, except those that are the user's own (`keys`).

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use super::keys::Keys;

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
        let mode = Self { before: tcgetattr(io::stdin())? };
        BEFORE.get_or_init(|| mode.before.clone());
        mode.apply()?;
        Ok(Some(mode))
    }

    /// What keys mean at this terminal.
    pub(crate) fn keys(&self) -> Keys {
        Keys::of(&self.before)
    }

    /// Switches the terminal over, again after [`restore`](Self::restore). Not while the process is in the background,
    /// where the terminal is somebody else's.
    pub(crate) fn apply(&self) -> io::Result<()> {
        if !in_foreground() {
            return Ok(());
        }
        let mut now = self.before.clone();
        now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &now)?)
    }

    /// Puts the terminal back. It does no harm twice, and nothing where the process is in the background or the terminal
    /// is gone.
    pub(crate) fn restore(&self) {
        if !in_foreground() {
            return;
        }
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

/// The terminal as it was before it was first switched over.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// Puts the terminal back if it was switched over, also from a signal handler: it makes system calls and nothing else.
pub(crate) fn restore_at_once() {
    if let Some(before) = BEFORE.get() {
        if in_foreground() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Whether reading stdin is allowed: a background process would be stopped for it.
pub(crate) fn may_read_stdin() -> bool {
    !io::stdin().is_terminal() || in_foreground()
}

fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground == getpgrp())
}
