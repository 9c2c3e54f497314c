//! The control socket of a running VM: one request line in, one line of JSON out.
//!
//! Its user and root may ask; what they ask for may change the VM, and no client can hold it up. It lies in a folder
//! of the user's own, is removed when the run ends, and one that a killed `pvir` left behind refuses connections, by which
//! it is told from a living one.

pub(crate) mod client;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod own_folder;
mod peer;
pub(crate) mod server;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// What can be asked.
pub(crate) const REQUESTS: [&str; 8] = [
    "routes",
    "summary",
    "event WORD DEVICE",
    "save",
    "devices",
    "plug DEVICE",
    "unplug PLACE",
    "unplug PLACE force",
];

/// Where the sockets may be: the user's own folder first.
pub(crate) fn folders() -> Vec<PathBuf> {
    let own = env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    own.into_iter().chain([PathBuf::from("/run")]).map(|folder| folder.join("pvir")).collect()
}

/// The socket of process `pid` in a folder.
pub(crate) fn socket_of(folder: &Path, pid: u32) -> PathBuf {
    folder.join(format!("{pid}.sock"))
}

/// The sockets in a folder, by PID.
fn sockets_in(folder: &Path) -> impl Iterator<Item = (u32, PathBuf)> {
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|file| {
        let path = file.path();
        let pid = path.file_name()?.to_str()?.strip_suffix(".sock")?.parse().ok()?;
        Some((pid, path))
    })
}
