//! The bytes that wait for a stream's writer, and what was lost of them. It does no input or output.

use std::collections::VecDeque;
use std::io;

/// Bytes of a guest that wait at most. Then the guest waits.
const GUEST_BYTES: usize = 64 << 10;
/// Bytes of the VMM's own messages beyond those. Then messages are lost.
const OWN_BYTES: usize = 1 << 20;
/// Bytes that go out at once: a pipe takes so many whole (`PIPE_BUF` of Linux).
pub(super) const CHUNK: usize = 4096;

/// What did not go out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Bytes.
    pub(crate) bytes: u64,
    /// The last errno of a write that failed; none where there was no more room, or no more time.
    pub(crate) errno: Option<i32>,
}

impl Loss {
    /// Whether the reader closed its end. It asked for no more, which is no failure of this program.
    pub(crate) fn reader_left(&self) -> bool {
        self.errno == Some(rustix::io::Errno::PIPE.raw_os_error())
    }

    /// Why it was lost.
    pub(crate) fn reason(&self) -> String {
        match self.errno {
            Some(errno) => io::Error::from_raw_os_error(errno).to_string(),
            None => "nobody reads it, or not fast enough".to_owned(),
        }
    }
}

/// Bytes in order.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: VecDeque<u8>,
    guest_may_wait: bool,
    ends_with_newline: bool,
    loss: Loss,
    /// Grows with each byte that leaves the queue, written or lost.
    pub(super) done: u64,
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            guest_may_wait: true,
            ends_with_newline: true,
            loss: Loss::default(),
            done: 0,
            closed: false,
        }
    }

    /// Takes as much of a guest's bytes as there is room for, and says how many. All are taken once the guest may not
    /// wait any more: what has no room is lost.
    pub(super) fn take_of_guest(&mut self, bytes: &[u8]) -> usize {
        let room = GUEST_BYTES.saturating_sub(self.bytes.len());
        let taken = &bytes[..bytes.len().min(room)];
        self.push(taken);
        if self.guest_may_wait {
            return taken.len();
        }
        self.lose(bytes.len() - taken.len(), None);
        bytes.len()
    }

    /// Takes a guest's bytes, which does not wait: of more than there is room for, the oldest go. Says how many went.
    pub(super) fn take_newest(&mut self, bytes: &[u8]) -> usize {
        self.push(bytes);
        let gone = self.bytes.len().saturating_sub(GUEST_BYTES);
        self.bytes.drain(..gone);
        gone
    }

    /// Forgets what waits: nobody wants it.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Takes a message of the VMM's whole, or loses it where too many wait.
    pub(super) fn take_message(&mut self, message: &[u8]) {
        if self.bytes.len() + message.len() > GUEST_BYTES + OWN_BYTES {
            self.lose(message.len(), None);
        } else {
            self.push(message);
        }
    }

    /// Takes a line of the VMM's, however long it is. It begins on a line of its own, also behind one that the guest has
    /// not finished.
    pub(super) fn take_line(&mut self, line: &str) {
        if !self.ends_with_newline {
            self.push(b"\n");
        }
        self.push(line.as_bytes());
        self.push(b"\n");
    }

    /// Whether a line would not make the queue longer than messages may make it.
    pub(super) fn has_room_for(&self, line: &str) -> bool {
        self.bytes.len() + line.len() + 2 <= GUEST_BYTES + OWN_BYTES
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.ends_with_newline = *last == b'\n';
            self.bytes.extend(bytes);
        }
    }

    /// From now on the guest does not wait for room.
    pub(super) fn stop_waiting(&mut self) {
        self.guest_may_wait = false;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next bytes to write, which stay in the queue.
    pub(super) fn next(&self, chunk: &mut [u8; CHUNK]) -> usize {
        self.bytes.iter().zip(chunk.iter_mut()).map(|(from, to)| *to = *from).count()
    }

    /// So many bytes are written.
    pub(super) fn written(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        self.done += count as u64;
    }

    /// So many bytes at the front could not be written.
    pub(super) fn failed(&mut self, count: usize, error: &io::Error) {
        self.written(count);
        self.lose(count, error.raw_os_error());
    }

    pub(super) fn lose(&mut self, count: usize, errno: Option<i32>) {
        if count > 0 {
            self.loss.bytes += count as u64;
            self.loss.errno = errno.or(self.loss.errno);
        }
    }

    /// What is lost, with what has not gone out.
    pub(super) fn loss(&self) -> Loss {
        Loss { bytes: self.loss.bytes + self.bytes.len() as u64, errno: self.loss.errno }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(queue: &Queue) -> Vec<u8> {
        queue.bytes.iter().copied().collect()
    }

    #[test]
    fn guest_waits_for_room_until_its_run_is_over() {
        let mut queue = Queue::new();
        assert_eq!(queue.take_of_guest(&[b'a'; GUEST_BYTES - 1]), GUEST_BYTES - 1);
        assert_eq!(queue.take_of_guest(b"bc"), 1);
        assert_eq!(queue.take_of_guest(b"c"), 0);
        queue.stop_waiting();
        assert_eq!(queue.take_of_guest(b"c"), 1);
        assert_eq!(queue.loss(), Loss { bytes: GUEST_BYTES as u64 + 1, errno: None });
        queue.written(GUEST_BYTES);
        assert_eq!(queue.loss(), Loss { bytes: 1, errno: None });
    }

    #[test]
    fn of_a_guest_that_does_not_wait_the_newest_bytes_stay() {
        let mut queue = Queue::new();
        assert_eq!(queue.take_newest(&[b'a'; GUEST_BYTES]), 0);
        assert_eq!(queue.take_newest(b"bc"), 2);
        assert_eq!((queue.bytes.len(), queue.bytes.back()), (GUEST_BYTES, Some(&b'c')));
        assert_eq!(queue.take_newest(&[b'd'; 2 * GUEST_BYTES]), 2 * GUEST_BYTES);
        assert!(content(&queue).iter().all(|byte| *byte == b'd'));
    }

    #[test]
    fn messages_have_room_behind_a_guest_that_filled_its_own_and_are_lost_whole() {
        let mut queue = Queue::new();
        queue.take_of_guest(&[b'a'; GUEST_BYTES]);
        queue.take_message(&[b'b'; OWN_BYTES]);
        queue.take_message(b"too much");
        assert_eq!((queue.bytes.len(), queue.loss.bytes), (GUEST_BYTES + OWN_BYTES, 8));
        assert!(!queue.has_room_for(""));
    }

    #[test]
    fn a_line_begins_on_a_line_of_its_own() {
        let mut queue = Queue::new();
        queue.take_line("first");
        queue.take_of_guest(b"unfinished");
        queue.take_line("second");
        queue.take_of_guest(b"finished\n");
        queue.take_line("third");
        assert_eq!(content(&queue), b"first\nunfinished\nsecond\nfinished\nthird\n");
    }

    #[test]
    fn what_fails_is_counted_with_its_error() {
        let mut queue = Queue::new();
        queue.take_of_guest(b"0123456789");
        let mut chunk = [0; CHUNK];
        assert_eq!((queue.next(&mut chunk), &chunk[..10]), (10, &b"0123456789"[..]));
        queue.written(4);
        queue.failed(6, &io::Error::from_raw_os_error(28));
        assert_eq!(queue.loss(), Loss { bytes: 6, errno: Some(28) });
        assert!(queue.is_empty() && queue.loss().reason().contains("No space left"));
    }
}
