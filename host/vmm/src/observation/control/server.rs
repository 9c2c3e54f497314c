//! The VM's end of the socket.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

/// Longer than any request.
const LONGEST: u64 = 64;
/// A client that takes longer loses its turn: the next one waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers a request with JSON, or says what is wrong with it.
pub(crate) type AnswerRequest = dyn Fn(&str) -> Result<String> + Send + Sync;

/// Serves the socket until it is dropped.
pub(crate) struct Server {
    path: PathBuf,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// At the first of the usual places where this user may have one; nothing where there is none, which is no reason
    /// not to run a guest.
    pub(crate) fn at_usual_place(answer: &Arc<AnswerRequest>) -> Option<Self> {
        super::folders().into_iter().find_map(|folder| {
            let path = super::socket_of(&folder, std::process::id());
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            let server = made.map_err(Into::into).and_then(|()| Self::start(&path, Arc::clone(answer)));
            server.inspect_err(|error| tracing::debug!("no control socket: {error:#}")).ok()
        })
    }

    /// At `path`, which is taken from a `pvir` that ended without removing it.
    ///
    /// # Errors
    /// If something else is there, or the socket cannot be made.
    pub(crate) fn start(path: &Path, answer: Arc<AnswerRequest>) -> Result<Self> {
        remove_stale(path)?;
        let name = path.display();
        let listener = UnixListener::bind(path).with_context(|| format!("cannot make the socket {name}"))?;
        let only_owner = fs::set_permissions(path, Permissions::from_mode(0o600));
        only_owner.with_context(|| format!("cannot restrict the socket {name}"))?;
        let ended = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&ended);
        let serve = move || serve(&listener, &of_thread, &*answer);
        let thread = thread::Builder::new().name("control".into()).spawn(serve);
        let thread = Some(thread.context("cannot start the thread of the control socket")?);
        Ok(Self { path: path.to_owned(), ended, thread })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the thread; if nobody can be reached any more, it is not waited for.
        let woken = UnixStream::connect(&self.path);
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            if thread.join().is_err() {
                tracing::error!("the thread of the control socket panicked");
            }
        }
    }
}

fn remove_stale(path: &Path) -> Result<()> {
    let name = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {name}")),
        Ok(data) if !data.file_type().is_socket() => bail!("{name} is there and is no socket"),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("cannot remove {name}, which nobody serves"))
        }
        _ => bail!("{name} is in use\nhelp: each VM needs a socket of its own"),
    }
}

fn serve(listener: &UnixListener, ended: &AtomicBool, answer: &AnswerRequest) {
    loop {
        let connection = listener.accept();
        if ended.load(Ordering::Acquire) {
            return;
        }
        let served = match connection {
            Ok((stream, _)) => converse(&stream, answer),
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

fn converse(mut stream: &UnixStream, answer: &AnswerRequest) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut line)?;
    let text = match std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n')) {
        Some(request) => answer(request).unwrap_or_else(|error| refusal(&format!("{error:#}"))),
        None => refusal("a request is one line of text"),
    };
    writeln!(stream, "{text}")
}

fn refusal(why: &str) -> String {
    json!({ "error": why }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::control::client;

    fn echo() -> Arc<AnswerRequest> {
        Arc::new(|request| match request {
            "no" => bail!("not this"),
            text => Ok(json!({ "asked": text }).to_string()),
        })
    }

    #[test]
    fn one_line_is_answered_by_one_line_and_the_socket_goes_with_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let server = Server::start(&path, echo()).unwrap();
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
        let _server = Server::start(&path, echo()).unwrap();
        let second = Server::start(&path, echo()).err().unwrap().to_string();
        assert!(second.contains("is in use"), "{second}");
        let file = folder.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(Server::start(&file, echo()).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }
}
