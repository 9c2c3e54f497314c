//! The guest's consoles at a socket. One client at a time reads and writes there; another one waits until it has left.
//!
//! The guest waits for no client: where one reads too slowly, or none is there, the oldest of what waits is lost. A client
//! therefore sees first what the guest has written last.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::queue::{CHUNK, Loss, Queue};
use super::stream::{Patience, Waiting};
use crate::sandbox::{Sandbox, kinds};
use crate::socket_file::SocketFile;

/// Until a client is accepted again where the process has no descriptor for one.
const NEXT_ACCEPT: Duration = Duration::from_millis(100);

/// Where the client's bytes go.
pub(crate) trait ConsoleInput: Send + Sync {
    /// Whether it takes more. If not, the waker that it was given is written to as soon as it does.
    fn has_room(&self) -> bool;
    /// Takes at most [`CHUNK`] bytes.
    fn receive(&self, bytes: &[u8]);
}

struct State {
    queue: Queue,
    connected: bool,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Something went out, or the client left.
    progress: Condvar,
    /// Wakes the thread.
    wake: OwnedFd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails where it is full, and then the thread wakes all the same.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// The socket; its file goes with it.
pub(crate) struct ConsoleSocket {
    path: PathBuf,
    file: Arc<SocketFile>,
    shared: Arc<Shared>,
    /// Until it is served.
    listener: Mutex<Option<UnixListener>>,
}

impl std::fmt::Debug for ConsoleSocket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ConsoleSocket").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ConsoleSocket {
    /// Makes the socket at `path`. Clients wait until it is [served](Self::serve), and what is put waits for clients.
    ///
    /// # Errors
    /// If the folder could be changed by somebody else, something else is there, or the socket cannot be made.
    pub(super) fn bind(path: &Path) -> Result<Self> {
        let (file, listener) = SocketFile::bind(path)?;
        listener.set_nonblocking(true).context("cannot set up the socket")?;
        let wake =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("cannot make an eventfd")?;
        let state = State { queue: Queue::new(), connected: false, ended: false };
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            shared: Arc::new(Shared { state: Mutex::new(state), progress: Condvar::new(), wake }),
            listener: Mutex::new(Some(listener)),
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its file, for whoever leaves without dropping this.
    pub(crate) fn file(&self) -> Arc<SocketFile> {
        Arc::clone(&self.file)
    }

    /// What wakes the thread when the input has room again.
    ///
    /// # Errors
    /// If there are no more descriptors.
    pub(crate) fn waker(&self) -> io::Result<OwnedFd> {
        self.shared.wake.try_clone()
    }

    /// Starts the thread that serves clients, whose bytes go to `input`, which may write to this in its turn. The thread ends
    /// with this. A second call does nothing.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn serve(&self, input: Weak<dyn ConsoleInput>, sandbox: &Sandbox) -> io::Result<()> {
        let Some(listener) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        let sandbox = sandbox.clone();
        let serve = move || {
            crate::signals::leave_to_main_thread();
            sandbox.enter(&kinds::CONSOLE);
            Server { shared, listener, input, client: None }.run();
        };
        thread::Builder::new().name("console".to_owned()).spawn(serve).map(drop)
    }

    /// Puts out what the guest writes, without waiting.
    pub(super) fn put(&self, bytes: &[u8]) {
        let mut state = self.shared.lock();
        let was_empty = state.queue.is_empty();
        let connected = state.connected;
        let lost = state.queue.take_newest(bytes);
        if connected {
            state.queue.lose(lost, None);
        }
        drop(state);
        if was_empty {
            self.shared.wake();
        }
    }

    /// Waits until the client has all, or patience ends. What a client did not get is lost; where there is none, nobody
    /// asked for it.
    pub(super) fn drain(&self, patience: Patience) -> Loss {
        let mut state = self.shared.lock();
        let mut waiting = Waiting::new(patience, state.queue.done);
        while state.connected && !state.queue.is_empty() {
            let Some(left) = waiting.left(state.queue.done) else { break };
            let waited = self.shared.progress.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !state.connected {
            state.queue.clear();
        }
        state.queue.loss()
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake();
        self.file.remove();
    }
}

struct Client {
    stream: UnixStream,
    /// It may still write: it has not closed that half.
    writes: bool,
}

struct Server {
    shared: Arc<Shared>,
    listener: UnixListener,
    input: Weak<dyn ConsoleInput>,
    client: Option<Client>,
}

impl Server {
    fn run(mut self) {
        loop {
            let state = self.shared.lock();
            if state.ended {
                return;
            }
            let has_output = !state.queue.is_empty();
            drop(state);
            // Not held while it waits, which would keep this from ending.
            let has_room = self.input.upgrade().is_some_and(|input| input.has_room());
            let happened = self.wait(has_output, has_room);
            // Before anything is looked at that it can have told of.
            let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
            match &mut self.client {
                None if happened.contains(PollFlags::IN) => self.accept(),
                None => {}
                Some(client) => {
                    let input = self.input.upgrade();
                    let stays =
                        converse(&self.shared, input.as_deref(), client, happened).unwrap_or_else(|error| {
                            tracing::debug!("console: {error}");
                            false
                        });
                    if !stays {
                        self.client = None;
                        self.shared.lock().connected = false;
                        self.shared.progress.notify_all();
                        tracing::info!("the client of --serial has left");
                    }
                }
            }
        }
    }

    /// Waits for the client, or for one, and says what it can do. Nothing if the thread was woken.
    fn wait(&self, has_output: bool, has_room: bool) -> PollFlags {
        let (other, wanted) = match &self.client {
            None => (self.listener.as_fd(), PollFlags::IN),
            Some(client) => {
                let mut wanted = PollFlags::empty();
                wanted.set(PollFlags::IN, client.writes && has_room);
                wanted.set(PollFlags::OUT, has_output);
                (client.stream.as_fd(), wanted)
            }
        };
        let mut polled =
            [PollFd::new(&self.shared.wake, PollFlags::IN), PollFd::from_borrowed_fd(other, wanted)];
        // A failure shows at what is done next.
        let _ = poll(&mut polled, None);
        polled[1].revents()
    }

    fn accept(&mut self) {
        let accepted = self.listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match accepted {
            Ok(stream) => {
                self.client = Some(Client { stream, writes: true });
                self.shared.lock().connected = true;
                tracing::info!("--serial has a client");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // The guest may have used up the descriptors, which can last.
                tracing::debug!("console: {error}");
                thread::sleep(NEXT_ACCEPT);
            }
        }
    }
}

/// Reads and writes what is possible. Whether the client is still there.
fn converse(
    shared: &Shared,
    input: Option<&dyn ConsoleInput>,
    client: &mut Client,
    can: PollFlags,
) -> io::Result<bool> {
    let gone = can.intersects(PollFlags::HUP | PollFlags::ERR);
    let mut chunk = [0; CHUNK];
    // What it has written before it left counts.
    while client.writes && (can.contains(PollFlags::IN) || gone) {
        match rustix::io::read(&client.stream, &mut chunk) {
            Ok(0) => client.writes = false,
            Ok(count) => input.iter().for_each(|input| input.receive(&chunk[..count])),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !gone {
            break;
        }
    }
    if gone {
        return Ok(false);
    }
    if can.contains(PollFlags::OUT) {
        // It does not block, and so the lock is held: what waits may lose its front otherwise.
        let mut state = shared.lock();
        let length = state.queue.next(&mut chunk);
        match rustix::io::write(&client.stream, &chunk[..length]) {
            Ok(count) => state.queue.written(count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(state);
        shared.progress.notify_all();
    }
    Ok(true)
}

#[cfg(test)]
#[path = "console_socket_tests.rs"]
mod tests;
