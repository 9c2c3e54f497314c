//! Starts the machine, gives it its job, watches it to the end.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use lab_wire::{INITRD_FILE, Job, KERNEL_FILE, Kind, LINUX_FILE, PAYLOAD_DIR, write_frame};

use super::clock::{Clock, Heard};
use super::devices::{self, Device};
use super::lost::MachineLost;
use super::options::{Iommu, Options};
use super::qemu::Qemu;
use super::qmp::Qmp;
use super::scratch::Scratch;
use super::session::{self, EXIT_UNWANTED, Event, Sinks};
use super::signals::Watch;
use super::streams::Streams;
use super::{machine, terminal};
use crate::build::Programs;
use crate::lab::image::run as run_image;
use crate::lab::setup::Setup;
use crate::process::tail;

/// How often signals and the clock are looked at.
const TICK: Duration = Duration::from_millis(50);
const CONSOLE_LINES: usize = 25;

/// How a lab ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command ended, with this status.
    Ended(u8),
    /// A signal asked us to stop.
    Interrupted(i32),
}

/// Gets and builds what a lab needs, and runs `argv` in one.
pub(crate) fn run(options: &Options, argv: &[OsString], streams: Streams) -> Result<Outcome> {
    let (setup, programs) = prepare();
    run_with(&setup?, &programs?, options, argv, streams)
}

/// Fetches and builds what every lab needs, at the same time: the one waits for the network, the other for the compiler.
pub(crate) fn prepare() -> (Result<Setup>, Result<Programs>) {
    thread::scope(|scope| {
        let setup = scope.spawn(Setup::ready);
        let programs = Programs::build();
        let setup = setup.join().unwrap_or_else(|_| Err(anyhow!("fetching what the lab needs panicked")));
        (setup, programs)
    })
}

/// Why a lab with the kernel and the modules of `options` cannot be had here; nothing where it can. What it takes is
/// fetched and built.
pub(crate) fn missing(options: &Options) -> Option<String> {
    let l1 = Setup::ready().and_then(|setup| setup.l1_with(&options.kernel, options.modules()));
    l1.err().map(|error| format!("{error:#}"))
}

/// Runs `argv` in a lab.
pub(crate) fn run_with(
    setup: &Setup,
    programs: &Programs,
    options: &Options,
    argv: &[OsString],
    streams: Streams,
) -> Result<Outcome> {
    let scratch = Scratch::create()?;
    let result = run_in(options, argv, streams, setup, programs, &scratch);
    if let Some(folder) = &options.logs {
        scratch.keep_logs(folder)?;
    }
    result.map_err(|error| {
        let Some(explanation) = explain(setup, &scratch, options.logs.as_deref()) else { return error };
        let text = format!("{error:#}\n{explanation}");
        match error.downcast_ref::<MachineLost>() {
            // a crash has a cause that its kernel tells of
            Some(lost) if !has_crashed(&scratch) => MachineLost { begun: lost.begun, text }.into(),
            _ => anyhow!(text),
        }
    })
}

fn run_in(
    options: &Options,
    argv: &[OsString],
    streams: Streams,
    setup: &Setup,
    programs: &Programs,
    scratch: &Scratch,
) -> Result<Outcome> {
    let watch = Watch::start()?;
    let l1 = setup.l1_with(&options.kernel, options.modules())?;
    let linux = options.linux_guest.then(|| (l1.kernel(), l1.guest_initramfs()));
    let contents = run_image::Contents {
        init: &programs.init,
        programs: &programs.on_path,
        kernel: &programs.kernel,
        linux: linux.as_ref().map(|(kernel, initramfs)| {
            (kernel.as_path(), initramfs.as_path(), options.guest_modules.as_slice())
        }),
        payload: options.payload.as_deref(),
    };
    run_image::write(&scratch.initramfs(), l1.initramfs(), &contents)?;
    let named = options.devices.iter().enumerate();
    let devices =
        named.map(|(position, argument)| Device::new(argument, position)).collect::<Result<Vec<_>>>()?;

    let channel = listener(&scratch.channel())?;
    let control = listener(&scratch.qmp())?;
    let mut qemu = Qemu::start(
        setup,
        machine::arguments(options, &devices, (&l1.kernel(), l1.major()), scratch),
        scratch,
    )?;
    let channel = qemu.accept(&channel, &watch)?;
    let control = qemu.accept(&control, &watch)?;
    let (Some(channel), Some(control)) = (channel, control) else {
        return Ok(Outcome::Interrupted(watch.received().unwrap_or_default()));
    };
    let mut control = match Qmp::new(control) {
        Ok(control) => control,
        // it connects before it looks at its devices
        Err(error) => bail!("QEMU did not start ({error:#})"),
    };
    let _raw = streams.terminal.and_then(|_| terminal::Raw::enter());

    let out = options.out.as_deref().map(Sinks::unpack_to).transpose()?;
    let heard = Heard::new(scratch.console());
    let sinks = Sinks { stdout: streams.stdout, stderr: streams.stderr, out, signs: heard.signs() };
    let events = session::listen(channel.try_clone()?, sinks);
    let mut clock = Clock::start(options.timeout, streams.terminal.is_some(), heard);
    let mut stdin = Some(streams.stdin);
    let outcome = loop {
        match events.recv_timeout(TICK) {
            Ok(Event::Ready) => {
                let mut job = job(options, argv, &devices, &mut control)?;
                job.terminal = streams.terminal;
                send(&channel, Kind::Job, &job.encode()?)?;
                if let Some(stdin) = stdin.take() {
                    session::send_input(stdin, channel.try_clone()?);
                }
                clock.booted(options.silence);
            }
            Ok(Event::Ended(status)) => break Outcome::Ended(status),
            Ok(Event::Unwanted) => break Outcome::Ended(EXIT_UNWANTED),
            Ok(Event::Failed(reason)) => bail!("{reason}"),
            Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => {
                let status = qemu.wait()?;
                let text = format!("the lab's machine went away (QEMU: {status})");
                // a reset of L1 ends QEMU as if all was well
                return Err(if status.success() {
                    MachineLost { begun: clock.is_up(), text }.into()
                } else {
                    anyhow!(text)
                });
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(signal) = watch.received() {
                    break Outcome::Interrupted(signal);
                }
                clock.check()?;
                if let Some(size) = watch.resized().then(terminal::size).flatten() {
                    send(&channel, Kind::Resize, &serde_json::to_vec(&size)?)?;
                }
            }
        }
    };
    // a clean end writes out QEMU's traces; one that does not come is not waited for
    let _ = control.execute("quit");
    qemu.wait_briefly();
    Ok(outcome)
}

fn send(mut channel: &UnixStream, kind: Kind, bytes: &[u8]) -> Result<()> {
    write_frame(&mut channel, kind, bytes).context("the channel to the lab's machine broke")
}

fn job(options: &Options, argv: &[OsString], devices: &[Device], control: &mut Qmp) -> Result<Job> {
    let buses = control.execute("query-pci")?;
    let mut job = Job::new(argv);
    job.devices = devices.iter().filter_map(|device| devices::address(&buses, &device.id)).collect();
    job.must_bind = options.iommu != Iommu::Off;
    job.send_out = options.out.is_some();
    let bound = job.devices.join(" ");
    for (name, value) in
        [("PVIR_KERNEL", KERNEL_FILE), ("PVIR_PAYLOAD", PAYLOAD_DIR), ("PVIR_DEVICES", &bound)]
    {
        job.set_variable(OsStr::new(name), OsStr::new(value));
    }
    if options.linux_guest {
        job.set_variable(OsStr::new("PVIR_LINUX"), OsStr::new(LINUX_FILE));
        job.set_variable(OsStr::new("PVIR_INITRD"), OsStr::new(INITRD_FILE));
    }
    if let Some(kind) = std::env::var_os("TERM") {
        job.set_variable(OsStr::new("TERM"), &kind);
    }
    for variable in &options.variables {
        let (name, value) = variable_of(variable);
        if let Some(value) = value {
            job.set_variable(&name, &value);
        }
    }
    Ok(job)
}

/// Name and value of `NAME=VALUE`, or of `NAME` with the value that it has here.
fn variable_of(text: &OsStr) -> (OsString, Option<OsString>) {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let value = OsStr::from_bytes(&bytes[at + 1..]).to_owned();
            (OsStr::from_bytes(&bytes[..at]).to_owned(), Some(value))
        }
        None => (text.to_owned(), std::env::var_os(text)),
    }
}

fn listener(path: &Path) -> Result<UnixListener> {
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The end of the logs of a lab that failed, and where the whole is.
fn explain(setup: &Setup, scratch: &Scratch, logs: Option<&Path>) -> Option<String> {
    let mut text = String::new();
    let qemu = fs::read_to_string(scratch.qemu_log()).unwrap_or_default();
    // QEMU lists what this CPU model has and its emulator has not, at every start
    for line in qemu.lines().filter(|line| !line.contains("TCG doesn't support")) {
        text.push_str(&format!("QEMU said:\n    {line}\n"));
    }
    let console = console_end(&scratch.console());
    if !console.is_empty() {
        text.push_str(&format!("the end of the console:\n{console}\n"));
    }
    if text.is_empty() {
        return None;
    }
    let folder: PathBuf = match logs {
        Some(folder) => folder.to_path_buf(),
        None => {
            let folder = setup.cache.path(&format!("logs/lab-{}", process::id()));
            scratch.keep_logs(&folder).ok()?;
            folder
        }
    };
    Some(format!("{text}the logs are in {}", folder.display()))
}

/// The last lines of the console, or what follows the first word of a crash: registers and stacks tell less than that.
fn console_end(console: &Path) -> String {
    let text = console_text(console);
    let crash = text.lines().skip_while(|line| !tells_of_crash(line));
    let crash: Vec<String> =
        crash.take(CONSOLE_LINES).map(|line| format!("    {}", line.trim_end())).collect();
    if crash.is_empty() { tail(console, CONSOLE_LINES) } else { crash.join("\n") }
}

fn console_text(console: &Path) -> String {
    String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned()
}

fn has_crashed(scratch: &Scratch) -> bool {
    console_text(&scratch.console()).lines().any(tells_of_crash)
}

fn tells_of_crash(line: &str) -> bool {
    ["BUG: ", "Oops: ", "Kernel panic", "sysrq: Trigger a crash"].iter().any(|word| line.contains(word))
}
