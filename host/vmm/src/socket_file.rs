//! The file of a socket: made in a folder that nobody else can change, for nobody else to open, and removed on
//! every way out.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, Stat, fchmod, fstat, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::geteuid;

/// Clients that wait for their turn.
const BACKLOG: i32 = 16;
/// Others may write, and remove what is not theirs.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The file, until it is removed.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: Mutex<Option<PathBuf>>,
}

impl SocketFile {
    /// Makes the socket at `path`, in place of one of a `pvir` that ended without removing it.
    ///
    /// # Errors
    /// If the folder could be changed by somebody else, something else is there, or the socket cannot be made.
    pub(crate) fn bind(path: &Path) -> Result<(Self, UnixListener)> {
        let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::canonicalize(folder)
            .with_context(|| format!("cannot find the folder {}", folder.display()))?;
        let descriptor = open_folder(&folder)?;
        let path = folder.join(name);
        remove_stale(&path)?;
        let inner = || -> io::Result<UnixListener> {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            // Linux gives the file the mode of the socket: at no moment can somebody else open it.
            fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
            // By the folder that was looked at, whatever has its name by now.
            let place = Path::new("/proc/self/fd").join(descriptor.as_raw_fd().to_string()).join(name);
            bind(&socket, &SocketAddrUnix::new(place.as_path())?)?;
            listen(&socket, BACKLOG)?;
            Ok(socket.into())
        };
        let listener = inner().with_context(|| format!("cannot make the socket {}", path.display()))?;
        Ok((Self { path: Mutex::new(Some(path)) }, listener))
    }

    /// The folder that the file is in.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        Some(self.path.lock().ok()?.as_deref()?.parent()?.to_owned())
    }

    /// Removes the file, once. Somebody else may have done it.
    pub(crate) fn remove(&self) -> Option<PathBuf> {
        let path = self.path.lock().ok()?.take()?;
        let _ = fs::remove_file(&path);
        Some(path)
    }
}

/// Removes a socket's file when it is dropped, whoever else still has the socket.
#[derive(Debug)]
pub(crate) struct Removal(pub(crate) Arc<SocketFile>);

impl Drop for Removal {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// Opens a folder in which nobody but this user and root can put something else in a file's place.
pub(crate) fn open_folder(folder: &Path) -> Result<OwnedFd> {
    let name = folder.display();
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let descriptor =
        open(folder, flags, Mode::empty()).with_context(|| format!("cannot open the folder {name}"))?;
    let state = fstat(&descriptor).with_context(|| format!("cannot look at the folder {name}"))?;
    if !is_safe(&state, geteuid().as_raw()) {
        bail!(
            "the folder {name} is another user's, or others may write to it\nhelp: use a folder of your own"
        );
    }
    Ok(descriptor)
}

fn is_safe(folder: &Stat, user: u32) -> bool {
    let ours = [0, user].contains(&folder.st_uid);
    ours && (folder.st_mode & OTHERS_WRITE == 0 || folder.st_mode & STICKY != 0)
}

/// Whether the process that made the socket has gone.
pub(crate) fn nobody_serves(path: &Path) -> bool {
    matches!(UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

fn remove_stale(path: &Path) -> Result<()> {
    let name = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {name}")),
        Ok(data) if !data.file_type().is_socket() => bail!("{name} is there and is no socket"),
        Ok(_) => {}
    }
    if !nobody_serves(path) {
        bail!("{name} is in use\nhelp: each VM needs a socket of its own");
    }
    fs::remove_file(path).with_context(|| format!("cannot remove {name}, which nobody serves"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_change_is_refused_unless_it_is_sticky() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        mode(folder.path(), 0o777);
        let error = SocketFile::bind(&path).err().unwrap().to_string();
        assert!(error.contains("others may write"), "{error}");
        mode(folder.path(), 0o1777);
        let (file, _listener) = SocketFile::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.remove(), Some(fs::canonicalize(folder.path()).unwrap().join("it.sock")));
        assert!(!path.exists() && file.remove().is_none());
        let mut state = fstat(open_folder(folder.path()).unwrap()).unwrap();
        state.st_uid = 1234;
        assert!(!is_safe(&state, 5678) && is_safe(&state, 1234));
    }
}
