use super::*;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

const SHORT: Patience = Patience { idle: Duration::from_millis(50), total: Duration::from_secs(60) };

/// Keeps what it gets, while it has room.
#[derive(Default)]
struct Keyboard {
    full: AtomicBool,
    typed: Mutex<Vec<u8>>,
}

impl Keyboard {
    fn typed(&self) -> Vec<u8> {
        self.typed.lock().unwrap().clone()
    }

    fn until(&self, text: &[u8]) {
        assert!(patience::until(Duration::from_secs(10), || self.typed() == text), "{:?}", self.typed());
    }
}

impl ConsoleInput for Keyboard {
    fn has_room(&self) -> bool {
        !self.full.load(Ordering::Acquire)
    }

    fn receive(&self, bytes: &[u8]) {
        self.typed.lock().unwrap().extend_from_slice(bytes);
    }
}

struct Served {
    socket: ConsoleSocket,
    keyboard: Arc<Keyboard>,
    folder: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = ConsoleSocket::bind(&folder.path().join("console")).unwrap();
        let keyboard = Arc::new(Keyboard::default());
        let input: Arc<dyn ConsoleInput> = Arc::<Keyboard>::clone(&keyboard);
        socket.serve(Arc::downgrade(&input), &Sandbox::off()).unwrap();
        Self { socket, keyboard, folder }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("console")).unwrap()
    }

    fn has_client(&self, wanted: bool) {
        let is_so = || self.socket.shared.lock().connected == wanted;
        assert!(patience::until(Duration::from_secs(10), is_so), "connected is not {wanted}");
    }
}

fn read(client: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn clients_come_one_after_the_other_and_each_sees_what_was_written_last() {
    let served = Served::new();
    served.socket.put(b"before anybody came\n");
    let mut first = served.connect();
    assert_eq!(read(&mut first, 20), b"before anybody came\n");
    first.write_all(b"typed").unwrap();
    served.keyboard.until(b"typed");
    let mut second = served.connect();
    second.write_all(b", then").unwrap();
    served.socket.put(b"for the first\n");
    assert_eq!(read(&mut first, 14), b"for the first\n");
    assert_eq!(served.keyboard.typed(), b"typed", "the second has not its turn");
    drop(first);
    served.keyboard.until(b"typed, then");
    served.socket.put(b"for the second\n");
    assert_eq!(read(&mut second, 15), b"for the second\n");
    assert_eq!(served.socket.drain(SHORT), Loss::default());
    drop(served.socket);
    assert_eq!(second.read(&mut [0; 1]).unwrap(), 0, "it is closed at the end");
    assert_eq!(std::fs::read_dir(served.folder.path()).unwrap().count(), 0);
}

#[test]
fn nobody_waits_for_a_client_that_does_not_read_and_what_it_misses_is_counted() {
    let served = Served::new();
    served.socket.put(&[b'0'; 1 << 20]);
    assert_eq!(served.socket.drain(SHORT), Loss::default(), "nobody asked for it");
    let client = served.connect();
    served.has_client(true);
    (0..64).for_each(|_| served.socket.put(&[b'x'; 64 << 10]));
    let loss = served.socket.drain(SHORT);
    assert!(loss.bytes > 2 << 20 && loss.errno.is_none(), "{loss:?}");
    drop(client);
    served.has_client(false);
    let mut next = served.connect();
    served.socket.put(b"end");
    let mut text = read(&mut next, 3);
    while !text.ends_with(b"end") {
        text.extend(read(&mut next, 1));
    }
}

#[test]
fn a_client_that_closes_its_half_reads_on_and_what_it_wrote_before_it_left_arrives() {
    let served = Served::new();
    let mut client = served.connect();
    client.write_all(b"script").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    served.keyboard.until(b"script");
    served.socket.put(b"answer");
    assert_eq!(read(&mut client, 6), b"answer");
    drop(client);
    served.has_client(false);
    let mut hasty = served.connect();
    hasty.write_all(b", and more").unwrap();
    drop(hasty);
    served.keyboard.until(b"script, and more");
}

#[test]
fn input_waits_for_room_while_output_goes_on() {
    let served = Served::new();
    served.keyboard.full.store(true, Ordering::Release);
    let mut client = served.connect();
    client.write_all(b"keys").unwrap();
    served.socket.put(b"text");
    assert_eq!(read(&mut client, 4), b"text");
    assert_eq!(served.keyboard.typed(), b"");
    served.keyboard.full.store(false, Ordering::Release);
    rustix::io::write(served.socket.waker().unwrap(), &1_u64.to_ne_bytes()).unwrap();
    served.keyboard.until(b"keys");
}
