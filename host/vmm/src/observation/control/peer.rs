//! Who is at the other end of a control socket, and how long a conversation with it may take.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
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

/// Descriptors that one request can bring: a device's file and one for its DMA.
pub(super) const DESCRIPTORS: usize = 2;

/// Receives a line of at most `longest` bytes, with its end or without, and the descriptors that came with it. What is more
/// than [`DESCRIPTORS`] is closed.
///
/// # Errors
/// If time is up, or the system call that failed.
pub(super) fn receive(
    stream: &UnixStream,
    deadline: Deadline,
    longest: usize,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut line, mut passed) = (Vec::new(), Vec::new());
    while line.len() < longest && line.last() != Some(&b'\n') {
        stream.set_read_timeout(Some(deadline.left()?))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 64];
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(stream, into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                passed.extend(descriptors);
                passed.truncate(DESCRIPTORS);
            }
        }
        match bytes.get(..received.bytes) {
            None | Some([]) => break,
            Some(bytes) => line.extend_from_slice(bytes),
        }
    }
    // What follows the first line is no part of the request.
    if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
        line.truncate(end + 1);
    }
    Ok((line, passed))
}

/// Sends a line, and with it at most [`DESCRIPTORS`] descriptors.
///
/// # Errors
/// The system call that failed, or that the other end takes less than the line.
pub(super) fn send(stream: &UnixStream, line: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("no room for so many descriptors"));
    }
    let sent = sendmsg(stream, &[IoSlice::new(line)], &mut beside, SendFlags::NOSIGNAL)?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
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
