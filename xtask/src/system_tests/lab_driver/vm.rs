//! A VM under test: `pvir run` with the test kernel, stopped at its checkpoints.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use patience::Patience;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::expect::text;

/// How long a VM may say nothing, by the clock of a machine that is no emulator. The longest step of all takes a quarter.
const SILENCE: Duration = Duration::from_secs(10);
/// What the VMM calls an ioctl that detaches an irqfd.
pub(crate) const DETACHED: &str = "KVM_IRQFD (de-assign)";
/// The end of an irqfd that goes with its eventfd, so without an ioctl of its own.
const CLOSED: &str = "KVM_IRQFD (close)";
const GUEST: &str = "@pvir ";
const HOST: &str = "@pvir-host ";
/// What a guest prints that wants an event: the number of its reason, or 0 to let the device go on, and the device.
const WANTED: &str = "@pvir-event-wanted ";
/// What a guest prints that wants a device, and one that wants to be rid of it: the device, and how.
const PLUG_WANTED: &str = "@pvir-plug-wanted";
const UNPLUG_WANTED: &str = "@pvir-unplug-wanted ";

/// A VM that runs. It is killed when dropped.
pub(crate) struct Vm {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    patience: Patience,
    seen: Seen,
    /// What a guest gets that wants a device.
    plugs: Option<String>,
}

/// What it has printed.
#[derive(Default)]
struct Seen {
    /// The guest's events.
    events: Vec<Value>,
    /// The VMM's reports.
    reports: Vec<Value>,
    lines: Vec<String>,
}

/// A VM that has ended.
pub(crate) struct Ended {
    /// None if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) events: Vec<Value>,
    /// The VMM's last report.
    pub(crate) report: Value,
    /// All that the guest printed.
    pub(crate) output: String,
    pub(crate) stderr: String,
}

impl Vm {
    /// Starts a VM with two CPUs unless `arguments` say otherwise, and these words for its kernel.
    pub(crate) fn start(arguments: &[&str], words: &str) -> Result<Self> {
        Self::start_by(Command::new("pvir"), arguments, words)
    }

    /// Has one go on from a file of `pvir save`. With `--on-reboot restart` the kernel is that of the environment.
    pub(crate) fn restore(file: &str, arguments: &[&str]) -> Result<Self> {
        Self::spawn(Command::new("pvir"), &["--restore", file], arguments)
    }

    /// The same as [`start`](Self::start) with another program that takes the arguments of `pvir`.
    pub(crate) fn start_by(pvir: Command, arguments: &[&str], words: &str) -> Result<Self> {
        Self::spawn(pvir, &["--append", words], arguments)
    }

    fn spawn(mut pvir: Command, guest: &[&str], arguments: &[&str]) -> Result<Self> {
        pvir.args(["run", "--json", "-"]).args(guest).args(arguments);
        if !arguments.contains(&"--apic-ids") {
            pvir.args(["--cpus", "2"]);
        }
        pvir.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            pvir.spawn().with_context(|| format!("cannot start {}", pvir.get_program().display()))?;
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        thread::spawn(move || {
            // bytes that are no text end it, as if the VM had ended: the case fails then
            stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        let mut pipe = child.stderr.take().context("no stderr")?;
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stdin = child.stdin.take();
        let patience = Patience::new(SILENCE);
        Ok(Self { child, stdin, lines, stderr: Some(stderr), patience, seen: Seen::default(), plugs: None })
    }

    /// Gives the guest this device as often as it wants one.
    pub(crate) fn plugs(&mut self, device: &str) {
        self.plugs = Some(device.to_owned());
    }

    /// Waits until the guest stands at a checkpoint, which must be this one.
    pub(crate) fn until(&mut self, checkpoint: &str) -> Result<()> {
        let known = self.seen.events.len();
        while let Some(()) = self.read()? {
            let Some(event) = self.seen.events.get(known..).and_then(<[Value]>::last) else { continue };
            if event["event"] == "checkpoint" {
                ensure!(event["name"] == checkpoint, "the guest is at {event}, not at {checkpoint}");
                // for whoever waits for a sign of life
                eprintln!("at {checkpoint}");
                return Ok(());
            }
        }
        bail!("the VM ended before {checkpoint}:\n{}", self.transcript())
    }

    /// Waits until the guest prints this line; whether it does before it ends.
    pub(crate) fn until_line(&mut self, line: &str) -> Result<bool> {
        let known = self.seen.lines.len();
        while let Some(()) = self.read()? {
            if self.seen.lines.len() > known && self.seen.lines.last().is_some_and(|last| last == line) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Saves it into `file`, as an operator does. What `pvir save` says is the error.
    pub(crate) fn save(&self, file: &str, more: &[&str]) -> Result<()> {
        let output = Command::new("pvir").args(["save", file, &self.pid()]).args(more).output();
        let output = output.context("cannot start pvir save")?;
        ensure!(output.status.success(), "pvir save: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Lets the guest go on from its checkpoint.
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.answer("")
    }

    /// Lets the guest go on from a checkpoint that is answered with a line.
    pub(crate) fn answer(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("no stdin")?;
        if let Err(error) = stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush()) {
            // It has ended: what it said last says why.
            while let Ok(Some(())) = self.read() {}
            bail!("the VM took no word at its checkpoint ({error}):\n{}", self.transcript());
        }
        Ok(())
    }

    /// The guest's events of this kind so far.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        of_kind(&self.seen.events, kind)
    }

    /// What the VMM has counted so far. An irqfd that went with its eventfd counts as detached.
    pub(crate) fn counts(&mut self) -> Result<Value> {
        let known = self.seen.reports.len();
        self.signal(Signal::USR1)?;
        while self.seen.reports.len() == known {
            if self.read()?.is_none() {
                bail!("the VM ended when it was asked for its counts:\n{}", self.transcript());
            }
        }
        let mut counts = self.seen.reports.pop().context("no report")?;
        add_closed(&mut counts);
        Ok(counts)
    }

    /// The same, once so many irqfds were detached, or when nobody waits for them any longer: the VMM detaches them aside,
    /// off the guest's path.
    pub(crate) fn counts_detached(&mut self, irqfds: u64) -> Result<Value> {
        let mut patience = Patience::new(SILENCE);
        loop {
            let counts = self.counts()?;
            if counts["ioctls"][DETACHED].as_u64().unwrap_or(0) >= irqfds || patience.is_over() {
                return Ok(counts);
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        Ok(kill_process(pid, signal)?)
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Result<Ended> {
        while self.read()?.is_some() {}
        let status = self.child.wait()?.code();
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let seen = std::mem::take(&mut self.seen);
        let report = seen.reports.last().cloned().unwrap_or_default();
        Ok(Ended { status, events: seen.events, report, output: seen.lines.join("\n"), stderr })
    }

    /// Lets the guest run through all checkpoints that are left.
    pub(crate) fn run_out(mut self) -> Result<Ended> {
        // no more than a few are left; what is not read is as good as not sent
        let _ = self.stdin.as_mut().map(|stdin| stdin.write_all(&[b'\n'; 16]));
        self.finish()
    }

    /// Takes one line; none at the end.
    fn read(&mut self) -> Result<Option<()>> {
        let line = loop {
            match self.lines.recv_timeout(self.patience.left()) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if self.patience.is_over() => {
                    let waited = self.patience.waited().as_secs();
                    bail!("the VM said nothing for {waited} s:\n{}", self.transcript())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        self.patience.progress();
        let json = |text: &str| serde_json::from_str(text).with_context(|| format!("no JSON: {text}"));
        if let Some(text) = line.strip_prefix(GUEST) {
            self.seen.events.push(json(text)?);
        } else if let Some(text) = line.strip_prefix(HOST) {
            self.seen.reports.push(json(text)?);
        } else {
            if let Some(wanted) = line.strip_prefix(WANTED) {
                self.raise(wanted)?;
            }
            if line.trim_end() == PLUG_WANTED {
                let device = self.plugs.clone().context("the guest wants a device")?;
                if let Err(error) = self.plug(&device, &[]) {
                    bail!("{error}\n{}", self.transcript());
                }
            }
            if let Some((device, how)) =
                line.strip_prefix(UNPLUG_WANTED).and_then(|text| text.trim_end().split_once(' '))
            {
                let force: &[&str] =
                    if how == "force" { &["--force", "--timeout", "0"] } else { &["--timeout", "60"] };
                self.unplug(device, force)?;
            }
            self.seen.lines.push(line.trim_end().to_owned());
        }
        Ok(Some(()))
    }

    /// Raises an event as an operator does.
    fn raise(&self, wanted: &str) -> Result<()> {
        let (reason, device) = wanted.trim_end().split_once(' ').context("an event without a device")?;
        let what: &[&str] = match reason {
            "0" => &["--readmit"],
            "1" => &["--reason", "stale-pairs"],
            "2" => &["--reason", "device-gone"],
            "3" => &["--reason", "device-cut-off"],
            _ => bail!("no such event: {wanted}"),
        };
        self.pvir(&[&["event", &self.pid(), "--device", device], what].concat())
    }

    /// Plugs a device. What `pvir plug` says is the error.
    pub(crate) fn plug(&self, device: &str, more: &[&str]) -> Result<()> {
        self.pvir(&[&["plug", &self.pid(), "--device", device], more].concat())
    }

    /// Unplugs the device at a place. What `pvir unplug` says is the error.
    pub(crate) fn unplug(&self, place: &str, more: &[&str]) -> Result<()> {
        self.pvir(&[&["unplug", &self.pid(), "--device", place], more].concat())
    }

    /// A command of `pvir`, as an operator gives it.
    fn pvir(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new("pvir").args(arguments).output().context("cannot start pvir")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pvir {}: {said}", arguments.join(" "));
        Ok(())
    }

    fn transcript(&mut self) -> String {
        let _ = self.child.kill();
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let skip = self.seen.lines.len().saturating_sub(10);
        format!("{}\n{stderr}", self.seen.lines[skip..].join("\n"))
    }
}

/// Adds the irqfds that went with their eventfds to those that were detached by an ioctl: which of both it is depends on
/// how many wait when the thread comes to them.
fn add_closed(counts: &mut Value) {
    let closed = counts["ioctls"].as_object_mut().and_then(|ioctls| ioctls.remove(CLOSED));
    let closed = closed.and_then(|count| count.as_u64()).unwrap_or(0);
    if closed > 0 {
        let detached = counts["ioctls"][DETACHED].as_u64().unwrap_or(0);
        counts["ioctls"][DETACHED] = (detached + closed).into();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // both fail if it has ended, which is as well
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails unless the guest's own verdict is good; answers how many checks it made.
    pub(crate) fn passed(&self) -> Result<u64> {
        let last = self.events.last();
        let passed = self.status == Some(0) && last.is_some_and(|event| event["verdict"] == "pass");
        if !passed {
            let failed = self.events.iter().filter(|event| event["outcome"] == "FAILED");
            let name = |event| text(event, if event["event"] == "statement" { "id" } else { "name" });
            let failed: Vec<String> =
                failed.map(|event| format!("{}: {}", name(event), text(event, "detail"))).collect();
            bail!(
                "the guest ended with {:?}, {}; failed: {failed:?}\n{}",
                self.status,
                last.unwrap_or(&Value::Null),
                self.stderr
            );
        }
        Ok(last.and_then(|event| event["passed"].as_u64()).unwrap_or(0))
    }

    /// Its checks of this name: how each ended.
    pub(crate) fn checks(&self, name: &str) -> Vec<&str> {
        let named = self.events.iter().filter(|event| event["event"] == "check" && event["name"] == name);
        named.map(|event| text(event, "outcome")).collect()
    }

    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Value> {
        of_kind(&self.events, kind)
    }
}

fn of_kind(events: &[Value], kind: &str) -> Vec<Value> {
    events.iter().filter(|event| event["event"] == kind).cloned().collect()
}
