//! Runs helper programs whose output nobody needs unless they fail.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use std::{env, io, thread};

use anyhow::{Context, Result, bail};
use patience::Patience;

/// How often a program is looked at that runs.
const PERIOD: Duration = Duration::from_millis(20);
/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 15;

/// Where `name` is on `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// Runs a program to its end, its output appended to `log`; fails, with the end of the log, unless it succeeds.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let mut file = append_to(log)?;
    writeln!(file, "$ {command:?}")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start {}", program(command)))?;
    if !status.success() {
        let tail = tail(log, TAIL_LINES);
        bail!("{} failed ({status}); the log is {}, its end:\n{tail}", program(command), log.display());
    }
    Ok(())
}

/// Runs a program and returns what it printed; fails, with what it said, unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", program(command), output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no UTF-8", program(command)))
}

/// Runs a program to its end, however that is; one that writes nothing for `silence` (of an idle machine) is killed.
pub(crate) fn patient_output(command: &mut Command, silence: Duration) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let files = ["stdout", "stderr"].map(|name| folder.path().join(name));
    command.stdin(Stdio::null());
    command.stdout(File::create(&files[0])?).stderr(File::create(&files[1])?);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program(command)))?;
    let written = || files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>();
    let (mut patience, mut known) = (Patience::new(silence), 0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let now = written();
        if now != known {
            known = now;
            patience.progress();
        } else if patience.is_over() {
            child.kill()?;
            child.wait()?;
            let waited = patience.waited().as_secs();
            bail!(
                "{} wrote nothing for {waited} s; its end:\n{}",
                program(command),
                tail(&files[0], TAIL_LINES)
            );
        }
        thread::sleep(PERIOD);
    };
    let [stdout, stderr] = files.map(fs::read);
    Ok(Output { status, stdout: stdout?, stderr: stderr? })
}

/// The last lines of a text file, indented; nothing if it cannot be read.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let last = &all[all.len().saturating_sub(lines)..];
    last.iter().map(|line| format!("    {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn append_to(log: &Path) -> Result<File> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let opened: io::Result<File> = OpenOptions::new().append(true).create(true).open(log);
    opened.with_context(|| format!("cannot open the log {}", log.display()))
}
