//! Signals as descriptors that can be polled: Ctrl-C and SIGTERM end the run, SIGUSR1 asks for the counts so far.
//!
//! Only the main thread takes them. A vCPU's thread would leave `KVM_RUN` for them, which is an exit that the guest did not
//! make.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::pipe;
use vmm_sys_util::signal::{self, block_signal, unblock_signal};

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGUSR1];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    /// The end of the run.
    EndRun,
    /// The counts so far.
    PrintCounts,
}

/// The signals of the process: a stream for each request, into which a handler writes a byte for each signal.
#[derive(Debug)]
pub(crate) struct Signals {
    end_run: UnixStream,
    print_counts: UnixStream,
}

impl Signals {
    /// Takes the signals over. They wait until [`listen`](Self::listen). To be called before the first thread is started,
    /// so that all threads but the main one leave them alone.
    pub(crate) fn take_over() -> io::Result<Self> {
        for signal in SIGNALS {
            match block_signal(signal) {
                // Whoever started this process had it blocked.
                Ok(()) | Err(signal::Error::SignalAlreadyBlocked(_)) => {}
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(Self { end_run: stream_of(&[SIGINT, SIGTERM])?, print_counts: stream_of(&[SIGUSR1])? })
    }

    /// Lets the calling thread take the signals, also those that have waited.
    pub(crate) fn listen(&self) -> io::Result<()> {
        SIGNALS.iter().try_for_each(|signal| {
            unblock_signal(*signal).map_err(|error| io::Error::other(error.to_string()))
        })
    }

    /// Descriptors of which one is readable when [`next`](Self::next) has a request.
    pub(crate) fn descriptors(&self) -> [RawFd; 2] {
        [self.end_run.as_raw_fd(), self.print_counts.as_raw_fd()]
    }

    /// The request of a signal that came, if one did. It needs no other descriptor: a guest can have used them up, and
    /// Ctrl-C is to work then too.
    pub(crate) fn next(&self) -> io::Result<Option<SignalRequest>> {
        if take_byte(&self.end_run)? {
            return Ok(Some(SignalRequest::EndRun));
        }
        Ok(take_byte(&self.print_counts)?.then_some(SignalRequest::PrintCounts))
    }
}

/// A stream that becomes readable with any of these signals.
fn stream_of(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in signals {
        pipe::register(*signal, write.try_clone()?)?;
    }
    Ok(read)
}

fn take_byte(mut stream: &UnixStream) -> io::Result<bool> {
    match stream.read(&mut [0]) {
        Ok(count) => Ok(count > 0),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
