#![expect(unsafe_code, reason = "signalfd has no safe interface in the standard library")]
//! Signals as a file: Ctrl-C and SIGTERM end the run, SIGUSR1 asks for the counts so far.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;

use vmm_sys_util::signal::{self, block_signal, create_sigset};

const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1];

/// What a signal wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The end of the run.
    End,
    /// The counts so far.
    Counts,
}

/// The next signal that came, if one did. It needs no other descriptor: a guest can have used them up, and Ctrl-C is to
/// work then too.
pub(crate) fn next(mut file: &File) -> io::Result<Option<Wish>> {
    // The number is the first field of a `signalfd_siginfo`.
    let mut record = [0; size_of::<libc::signalfd_siginfo>()];
    match file.read(&mut record) {
        Ok(size) if size == record.len() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    }
    let number = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
    Ok(Some(if number == libc::SIGUSR1 { Wish::Counts } else { Wish::End }))
}

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
