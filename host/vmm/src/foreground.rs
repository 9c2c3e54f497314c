//! The user's terminal while the process is stopped and continued.

use std::sync::Arc;
use std::thread::Thread;

use rustix::process::{Signal, getpid, kill_process};

use crate::devices::terminal::CharacterMode;

/// What a run has of the terminal.
pub(crate) struct Foreground {
    /// The terminal, where stdin is one.
    pub(crate) terminal: Option<Arc<CharacterMode>>,
    /// The thread that reads stdin.
    pub(crate) input: Option<Thread>,
}

impl Foreground {
    /// Gives the terminal back and stops the process, all its vCPUs too, until it is continued.
    pub(crate) fn suspend(&self) {
        self.leave_terminal();
        if let Err(error) = kill_process(getpid(), Signal::STOP) {
            tracing::warn!("cannot stop: {error}");
            self.resume();
        }
    }

    /// The process goes on, and may be in the foreground again.
    pub(crate) fn resume(&self) {
        if let Some(Err(error)) = self.terminal.as_ref().map(|terminal| terminal.apply()) {
            tracing::warn!("cannot set up the terminal: {error}");
        }
        if let Some(input) = &self.input {
            input.unpark();
        }
    }

    /// Gives the terminal back.
    pub(crate) fn leave_terminal(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.restore();
        }
    }
}
