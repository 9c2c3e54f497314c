//! Where a command's input comes from and where its output goes.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use lab_wire::WindowSize;

use super::terminal;

pub(crate) struct Streams {
    pub(super) stdin: Box<dyn Read + Send>,
    pub(super) stdout: Box<dyn Write + Send>,
    pub(super) stderr: Box<dyn Write + Send>,
    /// The size of the terminal that the three are, if they are one.
    pub(super) terminal: Option<WindowSize>,
}

/// What a command wrote.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Streams {
    /// Our own.
    pub(crate) fn inherited() -> Self {
        Self {
            stdin: Box::new(io::stdin()),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            terminal: terminal::size(),
        }
    }

    /// No input, output to where the caller wants it.
    pub(crate) fn output_only(
        stdout: impl Write + Send + 'static,
        stderr: impl Write + Send + 'static,
    ) -> Self {
        Self {
            stdin: Box::new(io::empty()),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            terminal: None,
        }
    }

    /// Input from memory, output to memory.
    pub(crate) fn captured(input: &[u8]) -> (Self, Captured, Captured) {
        let (stdout, stderr) = (Captured::default(), Captured::default());
        let streams = Self {
            stdin: Box::new(io::Cursor::new(input.to_vec())),
            stdout: Box::new(stdout.clone()),
            stderr: Box::new(stderr.clone()),
            terminal: None,
        };
        (streams, stdout, stderr)
    }
}

impl Captured {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
