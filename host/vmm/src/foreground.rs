//! What the guest is typed by, and the user's terminal while the process is stopped and continued.

use std::sync::Arc;
use std::thread::Thread;

use anyhow::{Context, Result};
use rustix::process::{Signal, getpid, kill_process};

use crate::devices::console_input;
use crate::devices::serial::SerialPort;
use crate::devices::terminal::{self, CharacterMode};
use crate::output::console::GuestOutput;
use crate::output::console_socket::ConsoleInput;
use crate::sandbox::Sandbox;

/// What a run has of the terminal.
pub(crate) struct Foreground {
    /// The terminal, where stdin is one.
    pub(crate) terminal: Option<Arc<CharacterMode>>,
    /// The thread that reads stdin.
    pub(crate) input: Option<Thread>,
}

impl Foreground {
    /// Brings the guest's serial port what is typed where its consoles end: at stdin, whose terminal is switched over, or
    /// by a socket's clients. With consoles that end elsewhere the terminal is left alone.
    ///
    /// # Errors
    /// If the terminal cannot be set up, or a thread not be started.
    pub(crate) fn take(console: &GuestOutput, serial: &Arc<SerialPort>, sandbox: &Sandbox) -> Result<Self> {
        match console {
            GuestOutput::Stdout(_) => {
                let terminal = CharacterMode::enter().context("cannot set up the terminal")?.map(Arc::new);
                let keys = terminal.as_ref().map(|mode| mode.keys());
                let input = terminal::may_read_stdin()
                    .then(|| console_input::start(Arc::clone(serial), keys, sandbox));
                let input = input.transpose().context("cannot start the thread that reads stdin")?;
                Ok(Self { terminal, input })
            }
            GuestOutput::Socket(socket) => {
                serial.wake(socket.waker().context("--serial: cannot duplicate an eventfd")?);
                let input: Arc<dyn ConsoleInput> = Arc::<SerialPort>::clone(serial);
                socket
                    .serve(Arc::downgrade(&input), sandbox)
                    .context("cannot start the thread of --serial")?;
                Ok(Self { terminal: None, input: None })
            }
            GuestOutput::File(..) | GuestOutput::Nowhere => Ok(Self { terminal: None, input: None }),
        }
    }

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
