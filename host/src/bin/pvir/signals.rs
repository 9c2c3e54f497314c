#![expect(unsafe_code, reason = "signalfd has no safe interface in the standard library")]
//! Ctrl-C and SIGTERM as a file.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

use vmm_sys_util::signal::{self, block_signal, create_sigset};

const SIGNALS: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];

/// Readable when one of the signals came. To be called before the first thread is started, so that no thread takes them.
pub(crate) fn as_file() -> io::Result<File> {
    for signal in SIGNALS {
        match block_signal(signal) {
            // Whoever started this process had it blocked.
            Ok(()) | Err(signal::Error::SignalAlreadyBlocked(_)) => {}
            Err(error) => return Err(io::Error::other(error.to_string())),
        }
    }
    let set = create_sigset(&SIGNALS).map_err(io::Error::from)?;
    // SAFETY: reads the set given, and makes a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and owned by nobody else.
    Ok(unsafe { File::from_raw_fd(fd) })
}
