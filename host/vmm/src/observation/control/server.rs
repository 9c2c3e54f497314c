//! The VM's end of the socket.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::own_folder;
use super::peer::{self, Deadline, Timed};
use crate::sandbox::{Sandbox, kinds};
use crate::socket_file::SocketFile;

/// Longer than any request.
pub(super) const LONGEST: usize = 128;
/// A client whose conversation takes longer, in all, loses its turn: the next one waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers a request, with which files may have come, with JSON, or says what is wrong with it.
pub(crate) type AnswerRequest = dyn Fn(&str, Vec<OwnedFd>) -> Result<String> + Send + Sync;

/// Serves the socket until it is dropped.
pub(crate) struct Server {
    file: Arc<SocketFile>,
    place: Option<PathBuf>,
    ended: Arc<AtomicBool>,
    talking: Arc<Talking>,
}

/// Whether a client is being served.
#[derive(Default)]
struct Talking {
    now: Mutex<bool>,
    over: Condvar,
}

impl Talking {
    fn set(&self, now: bool) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.over.notify_all();
    }
}

impl Server {
    /// At the first of the usual places where this user may have one; nothing where there is none, which is no reason
    /// not to run a guest.
    pub(crate) fn at_usual_place(answer: &Arc<AnswerRequest>, sandbox: &Sandbox) -> Option<Self> {
        super::folders().into_iter().find_map(|folder| {
            let path = super::socket_of(&folder, std::process::id());
            let made = own_folder::prepare_own(&folder);
            let server = made.and_then(|()| Self::start(&path, Arc::clone(answer), sandbox));
            server.inspect_err(|error| tracing::debug!("no control socket: {error:#}")).ok()
        })
    }

    /// At `path`, which is taken from a `pvir` that ended without removing it.
    ///
    /// # Errors
    /// If something else is there, or the socket cannot be made.
    pub(crate) fn start(path: &Path, answer: Arc<AnswerRequest>, sandbox: &Sandbox) -> Result<Self> {
        let (file, listener) = SocketFile::bind(path)?;
        let ended = Arc::new(AtomicBool::new(false));
        let talking = Arc::<Talking>::default();
        let (of_thread, talks) = (Arc::clone(&ended), Arc::clone(&talking));
        let of_sandbox = sandbox.clone();
        let serve = move || {
            of_sandbox.enter(&kinds::CONTROL);
            serve(&listener, &of_thread, &talks, &*answer);
        };
        let server = Self { file: Arc::new(file), place: Some(path.to_owned()), ended, talking };
        thread::Builder::new()
            .name("control".into())
            .spawn(serve)
            .context("cannot start the thread of the control socket")?;
        Ok(server)
    }

    /// Waits until the client that is being served, if there is one, has its answer: one whose wish has ended the run. It
    /// does not hold up the end for longer than a client has for an answer.
    pub(crate) fn finish_answer(&self) {
        let talks = self.talking.now.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.talking.over.wait_timeout_while(talks, PATIENCE, |now| *now));
    }

    /// The socket's file, for whoever leaves without dropping this.
    pub(crate) fn file(&self) -> Arc<SocketFile> {
        Arc::clone(&self.file)
    }
}

impl Drop for Server {
    /// The thread ends by itself, after a client that it may be talking to: nobody waits for that.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // The connection has to be made before the file is gone. It wakes the thread.
        let woken = self.place.as_deref().map(UnixStream::connect);
        self.file.remove();
        if let Some(Err(error)) = woken {
            tracing::debug!("control socket: {error}");
        }
    }
}

fn serve(listener: &UnixListener, ended: &AtomicBool, talking: &Talking, answer: &AnswerRequest) {
    loop {
        let connection = listener.accept();
        if ended.load(Ordering::Acquire) {
            return;
        }
        let served = match connection {
            Ok((stream, _)) => {
                talking.set(true);
                let served = converse(&stream, answer);
                talking.set(false);
                served
            }
            Err(error) => {
                // The guest may have used up the descriptors, which can last.
                thread::sleep(Duration::from_millis(100));
                Err(error)
            }
        };
        if let Err(error) = served {
            tracing::debug!("control socket: {error}");
        }
    }
}

pub(super) fn converse(stream: &UnixStream, answer: &AnswerRequest) -> io::Result<()> {
    if !peer::is_ours(stream)? {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let deadline = Deadline::within(PATIENCE);
    let (line, files) = peer::receive(stream, deadline, LONGEST)?;
    let text = match std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n')) {
        Some(request) => answer(request, files).unwrap_or_else(|error| refusal(&format!("{error:#}"))),
        None => refusal("a request is one line of text"),
    };
    // What the answer takes is not the client's time.
    Timed(stream, Deadline::within(PATIENCE)).write_all(format!("{text}\n").as_bytes())
}

fn refusal(why: &str) -> String {
    json!({ "error": why }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::control::client;
    use anyhow::bail;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    fn echo() -> Arc<AnswerRequest> {
        Arc::new(|request, _| match request {
            "no" => bail!("not this"),
            text => Ok(json!({ "asked": text }).to_string()),
        })
    }

    #[test]
    fn one_line_is_answered_by_one_line_and_the_socket_goes_with_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let server = Server::start(&path, echo(), &Sandbox::off()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for _ in 0..3 {
            assert_eq!(client::ask(&path, "routes").unwrap(), json!({ "asked": "routes" }));
        }
        assert_eq!(client::ask(&path, "no").unwrap_err().to_string(), "not this");
        let long = "x".repeat(1000);
        assert!(client::ask(&path, &long).is_err());
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_serves_is_taken_over_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        drop(UnixListener::bind(&path).unwrap());
        let _server = Server::start(&path, echo(), &Sandbox::off()).unwrap();
        let second = Server::start(&path, echo(), &Sandbox::off()).err().unwrap().to_string();
        assert!(second.contains("is in use"), "{second}");
        let file = folder.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(Server::start(&file, echo(), &Sandbox::off()).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn a_client_that_dawdles_loses_its_turn_and_holds_up_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let long: Arc<AnswerRequest> = Arc::new(|_, _| Ok(format!("\"{}\"", "x".repeat(4 << 20))));
        let server = Server::start(&path, long, &Sandbox::off()).unwrap();
        // A byte of the request now and then, and a byte of the answer, would be in time each by itself.
        for request in [&[b'a'; 60][..], b"a\n"] {
            let mut stream = UnixStream::connect(&path).unwrap();
            let dawdler = thread::spawn(move || {
                let mut bytes = request.iter();
                loop {
                    let done = match bytes.next() {
                        Some(byte) => stream.write(&[*byte]),
                        None => stream.read(&mut [0; 100]),
                    };
                    match done {
                        Ok(0) | Err(_) => return,
                        Ok(_) => thread::sleep(PATIENCE / 10),
                    }
                }
            });
            let begun = Instant::now();
            client::ask(&path, "next").unwrap();
            assert!(begun.elapsed() < patience::stretched(PATIENCE * 4), "{:?}", begun.elapsed());
            drop(dawdler);
        }
        let held = UnixStream::connect(&path).unwrap();
        let ended = Instant::now();
        drop(server);
        assert!(ended.elapsed() < PATIENCE / 2, "{:?}", ended.elapsed());
        drop(held);
    }
}
