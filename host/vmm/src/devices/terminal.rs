#![expect(unsafe_code, reason = "termios has no safe interface in the standard library")]
//! The terminal at stdin: every key goes to the guest at once, except Ctrl-C, which ends the run.

use std::io::{self, IsTerminal};

/// The terminal in its changed state; put back when this is dropped.
#[derive(Debug)]
pub(crate) struct CharacterMode {
    before: libc::termios,
}

impl CharacterMode {
    /// Switches stdin's terminal over; `None` where stdin is none, or this process is in its background.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() || !in_foreground() {
            return Ok(None);
        }
        let before = get()?;
        let mut now = before;
        now.c_lflag &= !(libc::ICANON | libc::ECHO);
        set(&now)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for CharacterMode {
    fn drop(&mut self) {
        if let Err(error) = set(&self.before) {
            tracing::warn!("the terminal stays without echo: {error}\nhelp: `stty sane` mends it");
        }
    }
}

/// Whether reading stdin is allowed: a background process would be stopped for it.
pub(crate) fn may_read_stdin() -> bool {
    !io::stdin().is_terminal() || in_foreground()
}

fn in_foreground() -> bool {
    // SAFETY: takes and gives plain numbers.
    let foreground = unsafe { libc::tcgetpgrp(libc::STDIN_FILENO) };
    // SAFETY: gives a plain number.
    let own = unsafe { libc::getpgrp() };
    foreground == own
}

fn get() -> io::Result<libc::termios> {
    let mut state = std::mem::MaybeUninit::uninit();
    // SAFETY: writes a whole `termios` to the place given, or fails.
    let result = unsafe { libc::tcgetattr(libc::STDIN_FILENO, state.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it is written.
    Ok(unsafe { state.assume_init() })
}

fn set(state: &libc::termios) -> io::Result<()> {
    // SAFETY: reads the `termios` given.
    let result = unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, state) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
