//! Signals as descriptors that can be polled: Ctrl-C, SIGTERM, SIGHUP and SIGQUIT end the run, SIGUSR1 asks for the counts
//! so far, and SIGTSTP (Ctrl-Z) and SIGCONT are about the terminal.
//!
//! Only the main thread takes them. A vCPU's thread would leave `KVM_RUN` for them, which is an exit that the guest did not
//! make.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1};
use signal_hook::low_level::pipe;
use vmm_sys_util::signal::{self, block_signal, unblock_signal};

use crate::sandbox::{Sandbox, kinds};

const SIGNALS: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGTSTP, SIGCONT];
/// Who starts programs with a limit of time sends a signal to the process and to its group: that is one request.
const SAME_REQUEST: Duration = Duration::from_millis(300);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    /// The end of the run.
    EndRun,
    /// The counts so far.
    PrintCounts,
    /// That the process stops, with its terminal put back: Ctrl-Z.
    Suspend,
    /// That it takes the terminal again: it was continued.
    Resume,
}

/// The signals of the process: a stream for each request, into which a handler writes a byte for each signal.
#[derive(Debug)]
pub(crate) struct Signals {
    end_run: UnixStream,
    print_counts: UnixStream,
    suspend: UnixStream,
    resume: UnixStream,
}

impl Signals {
    /// Takes the signals over. They wait until [`listen`](Self::listen). To be called before the first thread of the run is
    /// started, so that all threads but the main one leave them alone. A signal that was ignored when the process started
    /// stays so where that is a custom: `nohup` ignores SIGHUP.
    pub(crate) fn take_over() -> io::Result<Self> {
        block_all()?;
        let ignored = ignored_signals();
        let unless_ignored = |signals: &[i32]| -> Vec<i32> {
            signals.iter().copied().filter(|signal| ignored & bit_of(*signal) == 0).collect()
        };
        let end_run = [&[SIGINT, SIGTERM], &unless_ignored(&[SIGHUP, SIGQUIT])[..]].concat();
        Ok(Self {
            end_run: stream_of(&end_run)?,
            print_counts: stream_of(&[SIGUSR1])?,
            suspend: stream_of(&unless_ignored(&[SIGTSTP]))?,
            resume: stream_of(&[SIGCONT])?,
        })
    }

    /// Lets the calling thread take the signals, also those that have waited.
    pub(crate) fn listen(&self) -> io::Result<()> {
        SIGNALS.iter().try_for_each(|signal| {
            unblock_signal(*signal).map_err(|error| io::Error::other(error.to_string()))
        })
    }

    /// Descriptors of which one is readable when [`next`](Self::next) has a request.
    pub(crate) fn descriptors(&self) -> [RawFd; 4] {
        [&self.end_run, &self.print_counts, &self.suspend, &self.resume].map(AsRawFd::as_raw_fd)
    }

    /// The request of a signal that came, if one did. It needs no other descriptor: a guest can have used them up, and
    /// Ctrl-C is to work then too.
    pub(crate) fn next(&self) -> io::Result<Option<SignalRequest>> {
        let requests = [
            (&self.end_run, SignalRequest::EndRun),
            (&self.print_counts, SignalRequest::PrintCounts),
            (&self.suspend, SignalRequest::Suspend),
            (&self.resume, SignalRequest::Resume),
        ];
        for (stream, request) in requests {
            if take_byte(stream)? {
                return Ok(Some(request));
            }
        }
        Ok(None)
    }

    /// Has the next signal that ends a run call `leave`, on a thread of its own, whatever the other threads wait for. With
    /// `interrupted`, a signal has ended the run already, and its echo does not count.
    pub(crate) fn leave_at_next(
        self,
        interrupted: bool,
        sandbox: &Sandbox,
        leave: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let begun = Instant::now();
        self.end_run.set_nonblocking(false)?;
        let sandbox = sandbox.clone();
        let wait = move || {
            sandbox.enter(&kinds::SIGNALS);
            while let Ok(came) = take_byte(&self.end_run) {
                if came && (!interrupted || begun.elapsed() > SAME_REQUEST) {
                    return leave();
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
    }
}

/// Leaves the signals to the main thread: the calling one takes none.
pub(crate) fn leave_to_main_thread() {
    if let Err(error) = block_all() {
        tracing::debug!("signals stay with a thread: {error}");
    }
}

fn block_all() -> io::Result<()> {
    for signal in SIGNALS {
        match block_signal(signal) {
            // Whoever started this process had it blocked.
            Ok(()) | Err(signal::Error::SignalAlreadyBlocked(_)) => {}
            Err(error) => return Err(io::Error::other(error.to_string())),
        }
    }
    Ok(())
}

fn bit_of(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The mask of ignored signals, as `proc_pid_status(5)` has it.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
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
