//! The user's end of the socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::peer::{self, Deadline, Timed};
use super::{folders, socket_of};

/// Longer than the VM takes with a client before this one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than any answer: 4,096 routes of some 500 bytes, many times over.
const LONGEST: u64 = 64 << 20;

/// Asks, and takes the answer.
///
/// # Errors
/// If nobody is there, or what the VM says of the request.
pub(crate) fn ask(path: &Path, request: &str) -> Result<Value> {
    let line = format!("{request}\n");
    converse(path, |stream, answer| {
        let deadline = Deadline::within(PATIENCE);
        Timed(stream, deadline).write_all(line.as_bytes())?;
        BufReader::new(Timed(stream, deadline).take(LONGEST)).read_line(answer)
    })
}

/// Asks for something that takes as long as the host's kernel takes for it.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_patiently(path: &Path, request: &str) -> Result<Value> {
    let line = format!("{request}\n");
    converse(path, |mut stream, answer| {
        stream.write_all(line.as_bytes())?;
        BufReader::new(stream.take(LONGEST)).read_line(answer)
    })
}

/// Asks for something that takes as long as it takes, with open files.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_with_files(path: &Path, request: &str, files: &[BorrowedFd<'_>]) -> Result<Value> {
    let line = format!("{request}\n");
    converse(path, |stream, answer| {
        peer::send(stream, line.as_bytes(), files)?;
        BufReader::new(stream.take(LONGEST)).read_line(answer)
    })
}

fn converse(path: &Path, act: impl FnOnce(&UnixStream, &mut String) -> io::Result<usize>) -> Result<Value> {
    let name = path.display();
    let stream = UnixStream::connect(path).with_context(|| {
        format!("no VM answers at {name}\nhelp: is it running? A socket is readable for the user who runs it")
    })?;
    if !peer::is_ours(&stream).with_context(|| format!("who is at {name}?"))? {
        bail!("another user is at {name}\nhelp: only a VM of this user or of root is asked");
    }
    let mut line = String::new();
    act(&stream, &mut line).with_context(|| format!("the VM at {name} does not answer"))?;
    let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("no JSON from {name}"))?;
    match answer.get_mut("error").map(Value::take) {
        Some(Value::String(error)) => bail!(error),
        Some(error) => bail!("{error}"),
        None => Ok(answer),
    }
}

/// The socket of what the user named: nothing, a process, or a path.
///
/// # Errors
/// If no VM, or more than one, could be meant.
pub(crate) fn find(named: Option<&str>) -> Result<PathBuf> {
    find_in(&folders(), named)
}

fn find_in(folders: &[PathBuf], named: Option<&str>) -> Result<PathBuf> {
    let searched =
        || folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    let Some(named) = named else {
        let mut running = running(folders);
        return match running.len() {
            1 => Ok(running.remove(0).1),
            0 => bail!(
                "no running VM has a socket in {}\nhelp: start one with `pvir run`, as the same user; or name the \
                 socket that it was given with --control",
                searched()
            ),
            number => {
                let pids: Vec<String> = running.iter().map(|(pid, _)| pid.to_string()).collect();
                bail!("{number} VMs are running\nhelp: name one by its PID: {}", pids.join(", "))
            }
        };
    };
    let Ok(pid) = named.parse::<u32>() else { return Ok(PathBuf::from(named)) };
    let found = folders.iter().map(|folder| socket_of(folder, pid)).find(|path| path.exists());
    found.with_context(|| {
        format!(
            "process {pid} has no socket in {}\nhelp: is it a `pvir run` of this user? If it was given --control, \
             name that path",
            searched()
        )
    })
}

/// The VMs that answer, by PID.
fn running(folders: &[PathBuf]) -> Vec<(u32, PathBuf)> {
    let named = folders.iter().flat_map(|folder| super::sockets_in(folder));
    let mut answering: Vec<_> = named.filter(|(_, path)| UnixStream::connect(path).is_ok()).collect();
    answering.sort();
    answering
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_only_vm_is_found_and_several_are_to_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("missing"), folder.path().to_owned()];
        let of = |pid| socket_of(folder.path(), pid);
        let error = |named| find_in(&folders, named).unwrap_err().to_string();
        assert!(error(None).starts_with("no running VM"), "{}", error(None));
        let _first = UnixListener::bind(of(12)).unwrap();
        // Left behind by one that was killed.
        drop(UnixListener::bind(of(13)).unwrap());
        fs::write(folder.path().join("notes"), "").unwrap();
        assert_eq!(find_in(&folders, None).unwrap(), of(12));
        let _second = UnixListener::bind(of(7)).unwrap();
        assert!(
            error(None).contains("2 VMs are running") && error(None).contains("7, 12"),
            "{}",
            error(None)
        );
        assert_eq!(find_in(&folders, Some("7")).unwrap(), of(7));
        assert!(error(Some("99")).contains("process 99 has no socket"));
        assert_eq!(find_in(&folders, Some("/a/b.sock")).unwrap(), Path::new("/a/b.sock"));
    }

    #[test]
    fn an_answer_without_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let flood = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut sent = 0;
            while let Ok(count) = stream.write(&[b'x'; 1 << 16]) {
                sent += count as u64;
            }
            sent
        });
        assert!(ask(&path, "routes").is_err());
        assert!(flood.join().unwrap() < LONGEST * 2);
    }
}
