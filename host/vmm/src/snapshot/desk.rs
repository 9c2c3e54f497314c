//! Where the control socket leaves a wish for a snapshot, and the main thread, which alone can stop the vCPUs, finds it.

use std::fs::File;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, bail};

use super::command::Request;
use crate::vcpu::ending::Ending;
use crate::vcpu::outcome::Outcome;

/// A snapshot that is wanted.
pub(crate) struct SaveRequest {
    pub(super) file: File,
    pub(super) wanted: Request,
    reply: Sender<Result<u64, String>>,
}

impl SaveRequest {
    /// Says what came of it: the number of bytes of the file, or why there is none. A client that has gone has no reader.
    pub(super) fn reply(&self, outcome: Result<u64, String>) {
        let _ = self.reply.send(outcome);
    }
}

/// The desk. There is one wish at a time.
pub(crate) struct SaveDesk {
    ending: Arc<Ending>,
    state: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    wanted: Option<SaveRequest>,
    closed: bool,
}

impl SaveDesk {
    pub(crate) fn new(ending: Arc<Ending>) -> Self {
        Self { ending, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, Desk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the machine saved into `file` and waits for it. Answers with the number of bytes of the file; the run then ends.
    ///
    /// # Errors
    /// Why the machine was not saved. The guest then goes on, if it has not ended.
    pub(crate) fn save(&self, file: File, wanted: Request) -> Result<u64> {
        let (reply, answer) = channel();
        {
            let mut state = self.state();
            if state.closed {
                bail!("the run is ending");
            }
            if state.wanted.is_some() {
                bail!("it is being saved already");
            }
            state.wanted = Some(SaveRequest { file, wanted, reply });
        }
        self.ending.finish(Outcome::SaveWanted);
        let answer = answer.recv().context("the run has ended meanwhile")?;
        answer.map_err(|error| anyhow!(error))
    }

    /// Has the run look here again, where it was at something else when the wish came: a guest that is started again.
    pub(crate) fn remind(&self) {
        if self.state().wanted.is_some() {
            self.ending.finish(Outcome::SaveWanted);
        }
    }

    /// The wish, which is then no longer there.
    pub(crate) fn take(&self) -> Option<SaveRequest> {
        self.state().wanted.take()
    }

    /// The run ends: nobody looks here any more, and whoever waits is told.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.wanted = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn desk() -> (Arc<Ending>, SaveDesk) {
        let ending = Arc::new(Ending::new().unwrap());
        (Arc::clone(&ending), SaveDesk::new(ending))
    }

    #[test]
    fn a_wish_is_served_once_and_answered() {
        let (ending, desk) = desk();
        thread::scope(|scope| {
            let client = scope.spawn(|| desk.save(tempfile::tempfile().unwrap(), Request::Told));
            assert!(patience::until(std::time::Duration::from_secs(30), || ending.has_ended()));
            assert!(matches!(ending.outcome(), Some(Outcome::SaveWanted)));
            let second = desk.save(tempfile::tempfile().unwrap(), Request::Told).unwrap_err();
            assert_eq!(second.to_string(), "it is being saved already");
            desk.take().unwrap().reply(Ok(7));
            assert_eq!(client.join().unwrap().unwrap(), 7);
        });
        assert!(desk.take().is_none());
    }

    #[test]
    fn a_wish_that_comes_while_the_guest_starts_again_is_not_forgotten() {
        let (ending, desk) = desk();
        ending.finish(Outcome::GuestReset { by: "port 0xcf9" });
        thread::scope(|scope| {
            let client = scope.spawn(|| desk.save(tempfile::tempfile().unwrap(), Request::Told));
            let wanted = || desk.state().wanted.is_some();
            assert!(patience::until(std::time::Duration::from_secs(30), wanted));
            assert!(ending.start_over());
            desk.remind();
            assert!(matches!(ending.outcome(), Some(Outcome::SaveWanted)));
            desk.take().unwrap().reply(Err("no".to_owned()));
            assert_eq!(client.join().unwrap().unwrap_err().to_string(), "no");
        });
    }

    #[test]
    fn who_waits_when_the_run_ends_is_told() {
        let (_, desk) = desk();
        thread::scope(|scope| {
            let client = scope.spawn(|| desk.save(tempfile::tempfile().unwrap(), Request::Told));
            let wanted = || desk.state().wanted.is_some();
            assert!(patience::until(std::time::Duration::from_secs(30), wanted));
            desk.close();
            assert_eq!(client.join().unwrap().unwrap_err().to_string(), "the run has ended meanwhile");
        });
        assert_eq!(
            desk.save(tempfile::tempfile().unwrap(), Request::Told).unwrap_err().to_string(),
            "the run is ending"
        );
    }
}
