//! The usual folder of control sockets, which is one user's alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::fstat;
use rustix::process::geteuid;

use crate::socket_file;

/// Makes `folder` if it is not there, for this user alone, and removes the sockets of processes that are gone.
///
/// # Errors
/// If it is not this user's alone.
pub(super) fn prepare_own(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    let state = fstat(socket_file::open_folder(folder)?)?;
    if state.st_uid != geteuid().as_raw() || state.st_mode & 0o077 != 0 {
        bail!("{} is not this user's alone", folder.display());
    }
    for (pid, path) in super::sockets_in(folder) {
        // Both: a socket that is about to be served refuses too, and a process may be in another PID namespace.
        if !Path::new("/proc").join(pid.to_string()).exists() && socket_file::nobody_serves(&path) {
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_usual_folder_is_no_link_and_this_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("pvir");
        prepare_own(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
        let link = folder.path().join("link");
        symlink(&own, &link).unwrap();
        assert!(prepare_own(&link).is_err());
        mode(&own, 0o750);
        assert!(prepare_own(&own).unwrap_err().to_string().contains("alone"));
    }

    #[test]
    fn sockets_of_processes_that_are_gone_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("pvir");
        prepare_own(&own).unwrap();
        let of = |pid| super::super::socket_of(&own, pid);
        // Beyond PID_MAX_LIMIT of Linux, so that no process has it.
        let [gone, served] = [of(0x40_0001), of(0x40_0002)];
        let here = of(std::process::id());
        drop(UnixListener::bind(&gone).unwrap());
        drop(UnixListener::bind(&here).unwrap());
        let _listener = UnixListener::bind(&served).unwrap();
        prepare_own(&own).unwrap();
        assert_eq!([gone, served, here].map(|path| path.exists()), [false, true, true]);
    }
}
