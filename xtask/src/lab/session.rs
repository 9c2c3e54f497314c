//! One talk over the channel with L1, from its greeting to the command's end.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context, Result};
use lab_wire::{Kind, read_frame, write_frame};

use super::clock::Signs;

/// What happened in L1.
pub(super) enum Event {
    /// It is up, and waits for its job.
    Ready,
    /// The command ended.
    Ended(u8),
    /// The lab's part in L1 failed.
    Failed(String),
    /// Nobody wants the command's output any more.
    Unwanted,
    /// The channel is closed: the machine has gone.
    Gone,
}

/// Exit status of a program that wrote where nobody reads, by the signal that would have told it.
pub(super) const EXIT_UNWANTED: u8 = 128 + 13;

/// Where what comes from L1 goes.
pub(super) struct Sinks {
    pub(super) stdout: Box<dyn Write + Send>,
    pub(super) stderr: Box<dyn Write + Send>,
    /// Unpacks what the command left for us.
    pub(super) out: Option<Child>,
    /// What has come so far.
    pub(super) signs: Arc<Signs>,
}

impl Sinks {
    /// A program that unpacks into `folder`.
    pub(super) fn unpack_to(folder: &Path) -> Result<Child> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut tar = Command::new("tar");
        tar.args(["-x", "--no-same-owner", "-f", "-", "-C"]).arg(folder).stdin(Stdio::piped());
        tar.spawn().context("cannot start tar to unpack what the command leaves")
    }

    /// Waits until all is written.
    fn finish(&mut self) -> io::Result<()> {
        self.stdout.flush()?;
        self.stderr.flush()?;
        if let Some(mut tar) = self.out.take() {
            drop(tar.stdin.take());
            let status = tar.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("tar failed ({status})")));
            }
        }
        Ok(())
    }
}

/// Reads frames in a thread of its own until the channel closes.
pub(super) fn listen(mut stream: UnixStream, mut sinks: Sinks) -> mpsc::Receiver<Event> {
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        while let Some(event) = next_event(&mut stream, &mut sinks) {
            let last = matches!(event, Event::Gone | Event::Unwanted);
            if sender.send(event).is_err() || last {
                break;
            }
        }
    });
    events
}

/// Passes output on until something else happens.
fn next_event(stream: &mut UnixStream, sinks: &mut Sinks) -> Option<Event> {
    loop {
        let frame = match read_frame(stream) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Some(Event::Gone),
            // a machine that is killed may leave half a frame
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Some(Event::Gone),
            Err(error) => return Some(Event::Failed(error.to_string())),
        };
        if frame.kind == Kind::Alive {
            sinks.signs.alive();
            continue;
        }
        let writing = sinks.signs.said();
        let written = match frame.kind {
            Kind::Stdout => write_through(&mut sinks.stdout, &frame.bytes),
            Kind::Stderr => write_through(&mut sinks.stderr, &frame.bytes),
            Kind::Out => match sinks.out.as_mut().and_then(|tar| tar.stdin.as_mut()) {
                Some(tar) => tar.write_all(&frame.bytes),
                None => Ok(()),
            },
            Kind::Hello => return Some(Event::Ready),
            Kind::Exit => {
                let status = frame.bytes.first().copied().unwrap_or(u8::MAX);
                let finished = sinks.finish();
                return Some(
                    finished.map_or_else(|error| Event::Failed(error.to_string()), |()| Event::Ended(status)),
                );
            }
            Kind::Failed => return Some(Event::Failed(String::from_utf8_lossy(&frame.bytes).into_owned())),
            other => return Some(Event::Failed(format!("L1 sent a frame of kind {other:?}"))),
        };
        drop(writing);
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Some(Event::Unwanted),
            Err(error) => return Some(Event::Failed(format!("cannot write the command's output: {error}"))),
        }
    }
}

fn write_through(writer: &mut Box<dyn Write + Send>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes)?;
    writer.flush()
}

/// Sends input in a thread of its own, which may wait for input for ever: nobody waits for the thread.
pub(super) fn send_input(mut input: Box<dyn Read + Send>, mut stream: UnixStream) {
    thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; 32 << 10];
        loop {
            let length = match input.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // input that cannot be read is input that ended
                Err(_) => 0,
            };
            write_frame(&mut stream, Kind::Stdin, &buffer[..length])?;
            if length == 0 {
                return Ok(());
            }
        }
    });
}
