//! Runs the command, with pipes or a terminal as its standard streams.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use lab_wire::{BIN_DIR, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Job, Kind, OUT_DIR, PAYLOAD_DIR};
use patience::Patience;

use crate::channel::{Channel, Sender};
use crate::forward;
use crate::terminal::Terminal;

/// How long the streams may be silent after the command's end before they are given up: processes that it left behind may
/// keep them open. By the clock of a machine that is no emulator.
const LEFTOVER: Duration = Duration::from_millis(100);

/// Runs the job's command to its end and returns its exit status.
pub(crate) fn run(job: &Job, channel: Channel) -> Result<u8> {
    let sender = channel.sender();
    let argv = job.argv();
    let (program, arguments) = argv.split_first().context("the job names no command")?;
    let terminal = job.terminal.map(Terminal::open).transpose()?;

    let mut command = match &terminal {
        Some(_) => in_own_session(program),
        None => Command::new(program),
    };
    command.args(arguments).current_dir(PAYLOAD_DIR).env_clear();
    command.env("PATH", format!("{BIN_DIR}:/bin")).env("HOME", "/root").env("PVIR_OUT", OUT_DIR);
    command.envs(job.variables());
    match &terminal {
        Some(terminal) => {
            command.stdin(terminal.slave()?).stdout(terminal.slave()?).stderr(terminal.slave()?);
        }
        None => {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
    }
    let spawned = command.spawn();
    // it holds the terminal's other side, whose last user must be the command
    drop(command);
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let message = format!("lab: cannot start {}: {error}\n", program.to_string_lossy());
            sender.send(Kind::Stderr, message.as_bytes())?;
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(if missing { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE });
        }
    };
    let output = pump_output(&mut child, terminal.as_ref(), &sender)?;
    pump_input(&mut child, terminal, channel);

    let status = child.wait().context("cannot wait for the command")?;
    let mut patience = Patience::new(LEFTOVER);
    loop {
        match output.recv_timeout(patience.left()) {
            Ok(()) => patience.progress(),
            Err(RecvTimeoutError::Timeout) if !patience.is_over() => {}
            // all streams are at their ends, or nothing comes any more
            Err(_) => break,
        }
    }
    Ok(exit_code(status))
}

/// A terminal obeys Ctrl-C and job control only for a session that owns it.
fn in_own_session(program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new("/bin/setsid");
    command.arg("-c").arg(program);
    command
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Starts a thread for each stream of output; the receiver hears of each piece, and ends when all of them did.
fn pump_output(
    child: &mut Child,
    terminal: Option<&Terminal>,
    sender: &Sender,
) -> Result<mpsc::Receiver<()>> {
    let (running, all_ended) = mpsc::channel();
    if let Some(terminal) = terminal {
        pump(terminal.master()?, Kind::Stdout, sender, &running);
    }
    if let Some(stdout) = child.stdout.take() {
        pump(stdout, Kind::Stdout, sender, &running);
    }
    if let Some(stderr) = child.stderr.take() {
        pump(stderr, Kind::Stderr, sender, &running);
    }
    Ok(all_ended)
}

fn pump(
    reader: impl std::io::Read + Send + 'static,
    kind: Kind,
    sender: &Sender,
    running: &mpsc::Sender<()>,
) {
    let (sender, running) = (sender.clone(), running.clone());
    thread::spawn(move || {
        // whether anybody listens any more is all the same
        let sent = || _ = running.send(());
        if let Err(error) = forward(reader, kind, &sender, sent) {
            crate::klog::say(&format!("{error:#}"));
        }
    });
}

/// Hands the host's input to the command, for as long as it takes any.
fn pump_input(child: &mut Child, terminal: Option<Terminal>, mut channel: Channel) {
    let mut pipe = child.stdin.take();
    thread::spawn(move || {
        while let Ok(Some(frame)) = channel.receive() {
            match (frame.kind, &terminal) {
                (Kind::Resize, Some(terminal)) => terminal.resize(&frame.bytes),
                (Kind::Stdin, Some(terminal)) => terminal.type_in(&frame.bytes),
                (Kind::Stdin, None) => pipe = feed(pipe.take(), &frame.bytes),
                _ => {}
            }
        }
    });
}

/// Writes to the command's input; it is over when the host says so, or when the command closed it.
fn feed(pipe: Option<ChildStdin>, bytes: &[u8]) -> Option<ChildStdin> {
    let mut pipe = pipe.filter(|_| !bytes.is_empty())?;
    pipe.write_all(bytes).is_ok().then_some(pipe)
}
