//! The user's end of the socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{folders, socket_of};

/// Longer than the VM takes with a client before this one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks, and takes the answer.
///
/// # Errors
/// If nobody is there, or what the VM says of the request.
pub(crate) fn ask(path: &Path, request: &str) -> Result<Value> {
    let name = path.display();
    let mut stream = UnixStream::connect(path).with_context(|| {
        format!("no VM answers at {name}\nhelp: is it running? A socket is readable for the user who runs it")
    })?;
    let mut line = String::new();
    let mut converse = || -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "{request}")?;
        BufReader::new(&stream).read_line(&mut line).map(|_| ())
    };
    converse().with_context(|| format!("the VM at {name} does not answer"))?;
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
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let named = files.filter_map(|file| {
        let path = file.path();
        let pid = path.file_name()?.to_str()?.strip_suffix(".sock")?.parse().ok()?;
        Some((pid, path))
    });
    let mut answering: Vec<_> = named.filter(|(_, path)| UnixStream::connect(path).is_ok()).collect();
    answering.sort();
    answering
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
