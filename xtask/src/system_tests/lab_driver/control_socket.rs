//! The control socket of a VM, for what no command of `pvir` says.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::vm::Vm;

fn connect(vm: &Vm) -> Result<UnixStream> {
    let path = format!("/run/pvir/{}.sock", vm.pid());
    UnixStream::connect(&path).context(path)
}

/// Sends a line with two open files. Answers with what the VM says.
pub(crate) fn ask_with_files(vm: &Vm, request: &str, files: [BorrowedFd<'_>; 2]) -> Result<String> {
    let stream = connect(vm)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    ensure!(beside.push(SendAncillaryMessage::ScmRights(&files)), "no room for two files");
    let line = format!("{request}\n");
    sendmsg(&stream, &[IoSlice::new(line.as_bytes())], &mut beside, SendFlags::NOSIGNAL)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

/// A client that is gone before its line is whole.
pub(crate) fn leave_in_the_middle(vm: &Vm, part: &str) -> Result<()> {
    Ok(connect(vm)?.write_all(part.as_bytes())?)
}
