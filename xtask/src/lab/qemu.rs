//! The process of QEMU: started so that it ends with us, watched, and stopped.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::scratch::Scratch;
use super::signals::Watch;
use crate::lab::setup::Setup;
use crate::process::find;

/// The running QEMU; it does not outlive this.
pub(super) struct Qemu {
    child: Child,
}

impl Qemu {
    pub(super) fn start(setup: &Setup, arguments: Vec<OsString>, scratch: &Scratch) -> Result<Self> {
        let mut command = die_with_us(setup.tools.qemu());
        let log = File::create(scratch.qemu_log())?;
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Ctrl-C is ours to handle
        command.process_group(0);
        let child = command.spawn().context("cannot start QEMU")?;
        Ok(Self { child })
    }

    /// The connection that QEMU makes as it starts; none if a signal came first.
    pub(super) fn accept(&mut self, listener: &UnixListener, watch: &Watch) -> Result<Option<UnixStream>> {
        while watch.received().is_none() {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Some(stream));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("cannot accept QEMU's connection"),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("QEMU did not start ({status})");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }

    pub(super) fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().context("cannot wait for QEMU")
    }

    pub(super) fn wait_briefly(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // it may have ended already, and then there is nothing to do
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the kernel end QEMU when we are killed in a way that leaves no time to do it, where util-linux is at hand.
fn die_with_us(qemu: process::Command) -> process::Command {
    let Some(setpriv) = find("setpriv") else { return qemu };
    let mut command = process::Command::new(setpriv);
    command.args(["--pdeathsig", "KILL"]).arg(qemu.get_program()).args(qemu.get_args());
    command.envs(qemu.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    command
}
