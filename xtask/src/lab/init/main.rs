//! The first program of L1, the lab's machine.
//!
//! Prepares the machine (file systems, limits, modules), asks the host over the channel for a [`Job`], binds the devices
//! to vfio-pci, runs the command and reports how it ended. The host then ends the machine: nothing here powers it off.
//! It says what it does in the kernel's log, for that is what the host can show when the lab fails.

#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab_wire::{Job, Kind};

use crate::channel::{Channel, Sender};

mod bind;
mod channel;
mod command;
mod klog;
mod modules;
mod mounts;
mod out;
mod terminal;

fn main() {
    if let Err(error) = start() {
        klog::say(&format!("failed: {error:#}"));
    }
    // the first program must not end: the kernel would panic, and hide how the command ended
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// How often the host is told that this machine runs.
const PULSE: Duration = Duration::from_secs(1);

fn start() -> Result<()> {
    mounts::mount_all()?;
    raise_limits()?;
    let channel = Channel::open()?;
    let sender = channel.sender();
    beat(sender.clone());
    let outcome = serve(channel);
    match &outcome {
        Ok(status) => sender.send(Kind::Exit, &[*status])?,
        Err(error) => sender.send(Kind::Failed, format!("{error:#}").as_bytes())?,
    }
    outcome.map(|_| ())
}

/// Tells the host that this machine runs, for as long as it does.
fn beat(sender: Sender) {
    std::thread::spawn(move || {
        while sender.send(Kind::Alive, b"").is_ok() {
            std::thread::sleep(PULSE);
        }
    });
}

/// Does the host's job and returns the command's exit status.
fn serve(mut channel: Channel) -> Result<u8> {
    modules::load_listed()?;
    let sender = channel.sender();
    sender.send(Kind::Hello, b"")?;
    let job = match channel.receive()? {
        Some(frame) if frame.kind == Kind::Job => Job::decode(&frame.bytes)?,
        other => bail!("the host sent {:?} in place of a job", other.map(|frame| frame.kind)),
    };
    for device in &job.devices {
        let bound = bind::to_vfio(device);
        if let Err(error) = bound {
            if job.must_bind {
                return Err(error);
            }
            klog::say(&format!("{error:#}; going on, as this lab has no IOMMU"));
        }
    }
    let status = command::run(&job, channel)?;
    if job.send_out {
        out::send(&sender)?;
    }
    Ok(status)
}

/// VFIO pins a guest's memory, and every interrupt takes file descriptors.
fn raise_limits() -> Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let unlimited = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Memlock, unlimited).context("cannot raise the limit of locked memory")?;
    let files = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
    setrlimit(Resource::Nofile, files).context("cannot raise the limit of open files")
}

/// Sends what a reader yields until its end, each piece a frame, after which `sent` is called.
fn forward(mut reader: impl std::io::Read, kind: Kind, sender: &Sender, sent: impl Fn()) -> Result<()> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                sender.send(kind, &buffer[..length])?;
                sent();
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // how a terminal says that its last user is gone
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {kind:?} of the command")),
        }
    }
}
