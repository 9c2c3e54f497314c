//! Who is at the other end of a control socket, and how long a conversation with it may take.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

/// Whether the other end is this user's, or root's.
///
/// # Errors
/// If the kernel does not say.
pub(super) fn is_ours(stream: &UnixStream) -> io::Result<bool> {
    let user = socket_peercred(stream)?.uid;
    Ok(user.is_root() || user == geteuid())
}

/// A conversation's end, by which it is over whatever the other end does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn within(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// The time that is left.
    ///
    /// # Errors
    /// If none is.
    pub(super) fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// A stream that reads and writes until a deadline.
#[derive(Debug)]
pub(super) struct Timed<'a>(pub(super) &'a UnixStream, pub(super) Deadline);

impl io::Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.set_read_timeout(Some(self.1.left()?))?;
        let mut stream = self.0;
        stream.read(buffer)
    }
}

impl io::Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set_write_timeout(Some(self.1.left()?))?;
        let mut stream = self.0;
        stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
