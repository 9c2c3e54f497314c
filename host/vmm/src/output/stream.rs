//! A descriptor with a thread that writes to it, so that nobody else waits for whoever reads.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::queue::{CHUNK, Loss, Queue};
use crate::sandbox::{Sandbox, kinds};

/// Between two tries at a descriptor that says it is ready and is not.
const PAUSE: Duration = Duration::from_millis(1);

/// How long the end of a run waits for a stream's reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without one byte read.
    pub(crate) idle: Duration,
    /// In all, however much is read meanwhile.
    pub(crate) total: Duration,
}

impl Patience {
    /// The guest came to its end: a reader that is slow gets everything.
    pub(crate) const READER: Self = Self { idle: Duration::from_secs(5), total: Duration::MAX };
    /// The user asked for the end.
    pub(crate) const STOPPED: Self = Self { idle: Duration::from_millis(500), total: Duration::from_secs(3) };
}

/// A wait for a reader, within a patience.
#[derive(Debug)]
pub(super) struct Waiting {
    patience: Patience,
    begun: Instant,
    since: Instant,
    done: u64,
}

impl Waiting {
    /// Begins where so many bytes are done.
    pub(super) fn new(patience: Patience, done: u64) -> Self {
        let begun = Instant::now();
        Self { patience, begun, since: begun, done }
    }

    /// How long the next one may take, with so many bytes done by now; nothing when patience has ended.
    pub(super) fn left(&mut self, done: u64) -> Option<Duration> {
        if done != self.done {
            (self.done, self.since) = (done, Instant::now());
        }
        let idle = self.patience.idle.saturating_sub(self.since.elapsed());
        let left = idle.min(self.patience.total.saturating_sub(self.begun.elapsed()));
        (!left.is_zero()).then_some(left)
    }
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write, or it is closed.
    work: Condvar,
    /// Something went out, or nobody has to wait for that any more.
    progress: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A descriptor that is written to by a thread of its own, which ends with the last copy of this.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

/// Closes the stream for its thread.
#[derive(Debug)]
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_one();
    }
}

impl Stream {
    /// Starts the thread `name`, which writes to `descriptor`. It takes no signals: those are the main thread's.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(name: &str, descriptor: OwnedFd, sandbox: &Sandbox) -> io::Result<Self> {
        let queue = Mutex::new(Queue::new());
        let shared = Arc::new(Shared { queue, work: Condvar::new(), progress: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let sandbox = sandbox.clone();
        let write = move || {
            sandbox.enter(&kinds::OUTPUT);
            crate::signals::leave_to_main_thread();
            write_all(&of_thread, &descriptor);
        };
        thread::Builder::new().name(name.to_owned()).spawn(write)?;
        Ok(Self { _open: Arc::new(Open(Arc::clone(&shared))), shared })
    }

    /// Puts out what a guest writes. It waits for room, which is how a guest is slowed down to its reader, until
    /// [`stop_waiting`](Self::stop_waiting).
    pub(crate) fn put_of_guest(&self, mut bytes: &[u8]) {
        let mut queue = self.shared.lock();
        loop {
            let taken = queue.take_of_guest(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            self.shared.work.notify_one();
            if bytes.is_empty() {
                return;
            }
            queue = self.shared.progress.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts out a message of the VMM's, without waiting. Where too many wait already, it is lost and counted.
    pub(crate) fn put(&self, message: &[u8]) {
        self.shared.lock().take_message(message);
        self.shared.work.notify_one();
    }

    /// Puts out a line of the VMM's, without waiting, like [`put`](Self::put); it begins on a line of its own.
    pub(crate) fn put_line(&self, line: &str) {
        let mut queue = self.shared.lock();
        if queue.has_room_for(line) {
            queue.take_line(line);
            self.shared.work.notify_one();
        } else {
            queue.lose(line.len() + 1, None);
        }
    }

    /// Puts out the last line, which is never too long.
    pub(crate) fn put_last_line(&self, line: &str) {
        self.shared.lock().take_line(line);
        self.shared.work.notify_one();
    }

    /// The run is over: whoever waits for room goes on, and what has none is lost.
    pub(crate) fn stop_waiting(&self) {
        self.shared.lock().stop_waiting();
        self.shared.progress.notify_all();
    }

    /// Waits until all is written, or patience ends. Says what is lost with what has not gone out.
    pub(crate) fn drain(&self, patience: Patience) -> Loss {
        let mut queue = self.shared.lock();
        let mut waiting = Waiting::new(patience, queue.done);
        while !queue.is_empty() {
            let Some(left) = waiting.left(queue.done) else { break };
            queue = self.shared.progress.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.loss()
    }
}

fn write_all(shared: &Shared, descriptor: &OwnedFd) {
    let mut chunk = [0; CHUNK];
    loop {
        let mut queue = shared.lock();
        while queue.is_empty() {
            if queue.closed {
                return;
            }
            queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let length = queue.next(&mut chunk);
        drop(queue);
        let result = write_some(descriptor, &chunk[..length]);
        let mut queue = shared.lock();
        match result {
            Ok(count) => queue.written(count),
            Err(error) => queue.failed(length, &error),
        }
        drop(queue);
        shared.progress.notify_all();
    }
}

/// Writes a part, as soon as the descriptor takes some: one that does not block is waited for.
fn write_some(descriptor: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(descriptor, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut wanted = [PollFd::new(descriptor, PollFlags::OUT)];
                // A failure shows at the next write.
                let _ = poll(&mut wanted, None);
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A stream for one of the standard ones.
///
/// # Errors
/// If it cannot be duplicated, or no thread can be started.
pub(crate) fn of_standard(name: &str, descriptor: impl AsFd, sandbox: &Sandbox) -> io::Result<Stream> {
    Stream::start(name, descriptor.as_fd().try_clone_to_owned()?, sandbox)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    const SHORT: Patience = Patience { idle: Duration::from_millis(50), total: Duration::from_secs(60) };

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (_reader, writer) = UnixStream::pair().unwrap();
        let stream = Stream::start("unread", writer.into(), &Sandbox::off()).unwrap();
        let guest = stream.clone();
        let guest = thread::spawn(move || guest.put_of_guest(&vec![b'g'; 4 << 20]));
        let before = Instant::now();
        (0..3).for_each(|_| stream.put(&vec![b'm'; 600 << 10]));
        stream.put_line("line");
        assert!(before.elapsed() < patience::stretched(Duration::from_secs(5)));
        assert!(!guest.is_finished(), "the guest is slowed down");
        stream.stop_waiting();
        guest.join().unwrap();
        let loss = stream.drain(SHORT);
        assert!(loss.bytes > 3 << 20 && loss.errno.is_none(), "{loss:?}");
    }

    #[test]
    fn all_arrives_at_a_slow_reader_of_a_descriptor_that_does_not_block() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let stream = Stream::start("slow", writer.into(), &Sandbox::off()).unwrap();
        let guest = stream.clone();
        let guest = thread::spawn(move || guest.put_of_guest(&vec![b'g'; 1 << 20]));
        let mut read = 0;
        let mut some = [0; 30_000];
        while read < 1 << 20 {
            thread::sleep(Duration::from_millis(1));
            read += reader.read(&mut some).unwrap();
        }
        guest.join().unwrap();
        assert_eq!((read, stream.drain(SHORT)), (1 << 20, Loss::default()));
    }

    #[test]
    fn a_full_disk_and_a_reader_that_left_are_told_apart() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let full = Stream::start("full", full.into(), &Sandbox::off()).unwrap();
        full.put_of_guest(b"lost");
        let loss = full.drain(SHORT);
        assert!(loss.bytes == 4 && !loss.reader_left() && loss.reason().contains("No space"), "{loss:?}");
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let left = Stream::start("left", writer.into(), &Sandbox::off()).unwrap();
        left.put_of_guest(b"unread");
        assert!(left.drain(SHORT).reader_left());
    }
}
