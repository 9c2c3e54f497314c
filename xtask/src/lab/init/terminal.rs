//! A pseudo-terminal for the command.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result};
use lab_wire::WindowSize;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

pub(crate) struct Terminal {
    master: File,
    slave: String,
}

impl Terminal {
    pub(crate) fn open(size: WindowSize) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .context("cannot open a pseudo-terminal")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ptsname(&master, Vec::new())?.into_string()?;
        let terminal = Self { master: File::from(master), slave };
        terminal.set_size(size);
        Ok(terminal)
    }

    /// The side that the command sees.
    pub(crate) fn slave(&self) -> Result<Stdio> {
        let file = OpenOptions::new().read(true).write(true).open(&self.slave);
        Ok(file.with_context(|| format!("cannot open {}", self.slave))?.into())
    }

    /// The side that we see.
    pub(crate) fn master(&self) -> Result<File> {
        Ok(self.master.try_clone()?)
    }

    /// Passes on what the user typed; the end of input cannot be typed, so it is no input.
    pub(crate) fn type_in(&self, bytes: &[u8]) {
        let _ = (&self.master).write_all(bytes);
    }

    /// Follows the user's window; a size that cannot be set spoils nothing but the looks.
    pub(crate) fn resize(&self, json: &[u8]) {
        if let Ok(size) = serde_json::from_slice(json) {
            self.set_size(size);
        }
    }

    fn set_size(&self, size: WindowSize) {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        let _ = tcsetwinsize(&self.master, size);
    }
}
