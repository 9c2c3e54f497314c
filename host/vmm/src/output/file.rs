//! Files that the command line names for output. Opening one waits for nobody.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Opens `path` for `flag`, as a new file or in place of what is in it.
///
/// # Errors
/// If it cannot be opened, by the name of the flag; a pipe that nobody reads cannot.
pub(crate) fn create(flag: &str, path: &Path) -> Result<OwnedFd> {
    open(flag, path, File::options().write(true).create(true).truncate(true))
}

/// Opens `path` for `flag`, behind what is in it.
///
/// # Errors
/// As of [`create`].
pub(crate) fn append(flag: &str, path: &Path) -> Result<OwnedFd> {
    open(flag, path, File::options().append(true).create(true))
}

fn open(flag: &str, path: &Path, options: &mut OpenOptions) -> Result<OwnedFd> {
    let name = path.display();
    // Opening a pipe would wait for its reader, with signals blocked. A stream waits for a descriptor that does not block.
    match options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Ok(file) => Ok(file.into()),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            bail!("{flag}: cannot write {name}: {error}\nhelp: nobody reads the pipe; start its reader first")
        }
        Err(error) => Err(error).with_context(|| format!("{flag}: cannot write {name}")),
    }
}
