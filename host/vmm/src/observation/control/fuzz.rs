//! A client of the control socket that sends any bytes, in any pieces, with any number of files.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::Value;

use super::server::{AnswerRequest, LONGEST, converse};

/// Most files with one piece.
const FILES: usize = 4;

/// One conversation: the request is answered by one line of JSON, of a bounded length, and none of the files that came with
/// it is open afterwards. A piece is its bytes and the number of its files.
///
/// # Errors
/// An answer that is none, or a file that is still open.
pub(crate) fn talk(pieces: &[(Vec<u8>, u8)], machine: &AnswerRequest) -> Result<()> {
    let (mut client, server) = UnixStream::pair()?;
    let (mut witness, passed) = UnixStream::pair()?;
    let sent: Vec<u8> = pieces.iter().flat_map(|(bytes, _)| bytes).copied().collect();
    for (bytes, files) in pieces {
        send(&client, bytes, &vec![passed.as_fd(); usize::from(*files) % (FILES + 1)])?;
    }
    client.shutdown(Shutdown::Write)?;
    drop(passed);
    // It may give up: then nothing is to be read.
    let served = converse(&server, machine);
    drop(server);
    let mut text = String::new();
    // What the server has not read makes this a reset.
    let read = client.read_to_string(&mut text);
    if served.is_ok() && read.is_ok() {
        check(&sent, &text)?;
    }
    witness.set_nonblocking(true)?;
    ensure!(matches!(witness.read(&mut [0]), Ok(0)), "a file that came is still open");
    Ok(())
}

fn check(sent: &[u8], text: &str) -> Result<()> {
    let line = text.strip_suffix('\n').context("an answer without an end")?;
    ensure!(!line.contains('\n'), "more than a line: {text:?}");
    // A request's bytes may come back escaped.
    ensure!(line.len() < 1024 + 8 * LONGEST, "an answer of {} bytes", line.len());
    let answer: Value = serde_json::from_str(line)?;
    let whole = sent.iter().take(LONGEST + 63).position(|byte| *byte == b'\n').map(|end| &sent[..end]);
    let is_text = whole.is_some_and(|line| std::str::from_utf8(line).is_ok());
    ensure!(is_text || answer["error"].is_string(), "{sent:?} was taken: {answer}");
    Ok(())
}

/// A socket's buffer has room for all of it.
fn send(client: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> Result<()> {
    if files.is_empty() || bytes.is_empty() {
        return Ok((&mut &*client).write_all(bytes)?);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    ensure!(beside.push(SendAncillaryMessage::ScmRights(files)), "no room for the files");
    let sent = sendmsg(client, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?;
    ensure!(sent == bytes.len(), "only {sent} bytes were sent");
    Ok(())
}
