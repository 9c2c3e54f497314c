//! The guest's text on its way out: to stdout, to a file, to a socket's client, or nowhere.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::console_socket::ConsoleSocket;
use super::file;
use super::queue::Loss;
use super::stream::{Patience, Stream};
use crate::sandbox::Sandbox;
use crate::serial_target::SerialTarget;
use crate::socket_file::SocketFile;

/// What the guest's consoles write to. No write fails: what is lost is counted.
#[derive(Debug, Clone)]
pub(crate) enum GuestOutput {
    /// stdout, for whose reader the guest waits.
    Stdout(Stream),
    /// A file, likewise.
    File(Stream, Arc<Path>),
    /// A socket, for whose client the guest does not wait.
    Socket(Arc<ConsoleSocket>),
    /// Nobody.
    Nowhere,
}

impl GuestOutput {
    /// Opens what `--serial` names.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(target: &SerialTarget, stdout: &Stream, sandbox: &Sandbox) -> Result<Self> {
        Ok(match target {
            SerialTarget::Tty => Self::Stdout(stdout.clone()),
            SerialTarget::File(path) => {
                let file = file::create("--serial", path)?;
                let stream =
                    Stream::start("serial", file, sandbox).context("cannot start the thread of --serial")?;
                Self::File(stream, path.as_path().into())
            }
            SerialTarget::Socket(path) => {
                Self::Socket(Arc::new(ConsoleSocket::bind(path).context("--serial")?))
            }
            SerialTarget::Off => Self::Nowhere,
        })
    }

    /// How it is called where something of it is lost.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdout(_) => "stdout".to_owned(),
            Self::File(_, path) => format!("--serial {}", path.display()),
            Self::Socket(socket) => format!("--serial {}", socket.path().display()),
            Self::Nowhere => "--serial off".to_owned(),
        }
    }

    /// The file of the socket, which whoever leaves in a hurry removes.
    pub(crate) fn socket_file(&self) -> Option<Arc<SocketFile>> {
        match self {
            Self::Socket(socket) => Some(socket.file()),
            _ => None,
        }
    }

    /// The run is over: whoever waits for room goes on.
    pub(crate) fn stop_waiting(&self) {
        if let Self::Stdout(stream) | Self::File(stream, _) = self {
            stream.stop_waiting();
        }
    }

    /// Waits until all has gone out, or patience ends. Says what is lost with what has not.
    pub(crate) fn drain(&self, patience: Patience) -> Loss {
        match self {
            Self::Stdout(stream) | Self::File(stream, _) => stream.drain(patience),
            Self::Socket(socket) => socket.drain(patience),
            Self::Nowhere => Loss::default(),
        }
    }
}

impl Write for GuestOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stream) | Self::File(stream, _) => stream.put_of_guest(bytes),
            Self::Socket(socket) => socket.put(bytes),
            Self::Nowhere => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
