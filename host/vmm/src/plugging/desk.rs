//! Where the control socket leaves what is wanted, and the main thread finds it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use pvir_host::eventfd::EventFd;

use super::request::PluggedDevice;
use crate::device_spec::DeviceSpec;
use crate::devices::host_files::HostFiles;
use crate::pci::devfn::DevFn;

/// What is wanted.
#[derive(Debug)]
pub(super) enum Wish {
    /// A device, of the host with its files.
    Plug(DeviceSpec, Option<HostFiles>),
    /// That the guest lets a device go.
    Unplug(DevFn),
    /// That a device goes, whether the guest has let it go or not.
    ForceOut(DevFn),
}

/// A wish, and who waits for what comes of it.
pub(super) struct Request {
    pub(super) wish: Wish,
    pub(super) reply: Reply,
}

/// Who waits.
pub(super) struct Reply(Sender<Result<PluggedDevice, String>>);

impl Reply {
    /// A client that has gone has no reader.
    pub(super) fn send(self, outcome: Result<PluggedDevice>) {
        let _ = self.0.send(outcome.map_err(|error| format!("{error:#}")));
    }
}

/// The desk.
pub(crate) struct PlugDesk {
    state: Mutex<Desk>,
    event: EventFd,
}

#[derive(Default)]
struct Desk {
    requests: Vec<Request>,
    closed: bool,
}

impl PlugDesk {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { state: Mutex::default(), event: EventFd::new()? })
    }

    fn state(&self) -> MutexGuard<'_, Desk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the main thread do what is wanted, and waits for it: not for the guest.
    ///
    /// # Errors
    /// Why it was not done. Nothing has changed then.
    pub(super) fn ask(&self, wish: Wish) -> Result<PluggedDevice> {
        let (reply, answer) = channel();
        {
            let mut state = self.state();
            if state.closed {
                bail!("the run is ending");
            }
            state.requests.push(Request { wish, reply: Reply(reply) });
        }
        // Full is as good as written.
        let _ = self.event.signal();
        answer.recv().context("the run has ended meanwhile")?.map_err(|error| anyhow!(error))
    }

    /// What is wanted, which is then no longer here.
    pub(super) fn take(&self) -> Vec<Request> {
        // EAGAIN: nothing new.
        let _ = self.event.read();
        std::mem::take(&mut self.state().requests)
    }

    /// The run ends: nobody looks here any more, and whoever waits is told.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.requests.clear();
    }
}

impl AsRawFd for PlugDesk {
    /// Readable when something is wanted.
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_wish_is_answered_and_who_waits_when_the_run_ends_is_told() {
        let desk = PlugDesk::new().unwrap();
        thread::scope(|scope| {
            let ask = || desk.ask(Wish::Unplug(DevFn::device(3)));
            let client = scope.spawn(ask);
            let wanted = || !desk.state().requests.is_empty();
            assert!(patience::until(Duration::from_secs(30), wanted));
            let request = desk.take().remove(0);
            assert!(matches!(request.wish, Wish::Unplug(place) if place == DevFn::device(3)));
            request.reply.send(Err(anyhow!("no")));
            assert_eq!(client.join().unwrap().unwrap_err().to_string(), "no");
            let client = scope.spawn(ask);
            assert!(patience::until(Duration::from_secs(30), wanted));
            desk.close();
            assert_eq!(client.join().unwrap().unwrap_err().to_string(), "the run has ended meanwhile");
        });
        let late = desk.ask(Wish::ForceOut(DevFn::device(3))).unwrap_err();
        assert_eq!(late.to_string(), "the run is ending");
        assert!(desk.take().is_empty());
    }
}
