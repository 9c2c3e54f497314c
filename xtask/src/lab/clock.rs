//! When a lab has taken too long: it has a limit of its own, its machine hangs, or its command says nothing any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use patience::Patience;

use super::lost::MachineLost;

/// How long L1 may give no sign of life, on an idle machine: it is up in 2 s, and gives one each second then.
const NO_SIGN: Duration = Duration::from_secs(30);

/// What has come over the channel.
#[derive(Default)]
pub(super) struct Signs {
    /// Frames of the command, and of the lab's part in L1 about it.
    said: AtomicU64,
    /// Frames that say no more than that L1 runs.
    alive: AtomicU64,
    /// Output is being written to where the user wants it, and nothing can come meanwhile.
    writing: AtomicBool,
}

/// Output is being written for as long as this exists.
pub(super) struct Writing(Arc<Signs>);

impl Signs {
    /// L1 runs.
    pub(super) fn alive(&self) {
        self.alive.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame of another kind came, and is passed on while the answer exists.
    pub(super) fn said(self: &Arc<Self>) -> Writing {
        self.said.fetch_add(1, Ordering::Relaxed);
        self.writing.store(true, Ordering::Relaxed);
        Writing(Arc::clone(self))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::Relaxed);
    }
}

/// What tells that the machine lives: frames on the channel, and its console.
pub(super) struct Heard {
    signs: Arc<Signs>,
    console: PathBuf,
}

impl Heard {
    pub(super) fn new(console: PathBuf) -> Self {
        Self { signs: Arc::default(), console }
    }

    /// For whoever receives the frames.
    pub(super) fn signs(&self) -> Arc<Signs> {
        Arc::clone(&self.signs)
    }

    /// Changes with whatever is said.
    fn said(&self) -> u64 {
        let console = self.console.metadata().map_or(0, |file| file.len());
        console + self.signs.said.load(Ordering::Relaxed)
    }

    fn alive(&self) -> u64 {
        self.signs.alive.load(Ordering::Relaxed)
    }

    fn is_written(&self) -> bool {
        self.signs.writing.load(Ordering::Relaxed)
    }
}

/// A wait for a number to change.
struct Change {
    known: u64,
    patience: Patience,
}

impl Change {
    fn new(limit: Duration) -> Self {
        Self { known: 0, patience: Patience::new(limit) }
    }

    /// How long it has been `now`, if that is too long.
    fn missed(&mut self, now: u64, excused: bool) -> Option<u64> {
        if now != self.known || excused {
            self.known = now;
            self.patience.progress();
            return None;
        }
        self.patience.is_over().then(|| self.patience.waited().as_secs())
    }
}

/// The limits of time of a lab.
pub(super) struct Clock {
    started: Instant,
    /// For the whole, as the user has asked for it.
    limit: Option<Duration>,
    /// For what the machine gives by itself, unless the user waits for nothing else.
    machine: Option<Change>,
    /// For what the command says, likewise.
    command: Option<Change>,
    interactive: bool,
    is_up: bool,
    heard: Heard,
}

impl Clock {
    pub(super) fn start(timeout: Option<u64>, interactive: bool, heard: Heard) -> Self {
        Self {
            started: Instant::now(),
            limit: timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            machine: Some(Change::new(NO_SIGN)),
            command: None,
            interactive: interactive || timeout.is_some(),
            is_up: false,
            heard,
        }
    }

    /// From now on the command runs, which may say nothing for longer, or for as long as it likes.
    pub(super) fn booted(&mut self, silence: Duration) {
        self.is_up = true;
        self.machine = (!self.interactive).then(|| Change::new(NO_SIGN));
        self.command = (!self.interactive).then(|| Change::new(silence));
    }

    /// Whether the command has been started.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Fails if a limit has passed.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(limit) = self.limit.filter(|limit| self.started.elapsed() > *limit) {
            bail!("the command did not end in {} s; help: --timeout sets another limit", limit.as_secs());
        }
        let (said, excused) = (self.heard.said(), self.heard.is_written());
        // a machine whose first program runs and does not come to its job is not up
        let signs = if self.is_up { said + self.heard.alive() } else { said };
        if let Some(seconds) = self.machine.as_mut().and_then(|machine| machine.missed(signs, excused)) {
            let text = format!("the lab's machine gave no sign of life for {seconds} s");
            return Err(MachineLost { begun: self.is_up, text }.into());
        }
        if let Some(seconds) = self.command.as_mut().and_then(|command| command.missed(said, excused)) {
            bail!(
                "the command said nothing for {seconds} s, and the lab's machine runs; \
                 help: --timeout sets a limit in its place"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(timeout: Option<u64>) -> Clock {
        Clock::start(timeout, false, Heard::new("/no/such/console".into()))
    }

    /// A clock that has no patience at all.
    fn strict(is_up: bool) -> Clock {
        let mut clock = clock(None);
        clock.is_up = is_up;
        clock.machine = Some(Change::new(Duration::ZERO));
        clock.command = is_up.then(|| Change::new(Duration::ZERO));
        clock
    }

    #[test]
    fn silence_ends_a_lab_and_output_does_not() {
        let mut clock = strict(true);
        let signs = clock.heard.signs();
        drop(signs.said());
        assert!(clock.check().is_ok());
        signs.alive();
        let error = clock.check().unwrap_err();
        assert!(!error.is::<MachineLost>() && error.to_string().contains("the command said nothing"));
    }

    #[test]
    fn a_machine_that_gives_no_sign_is_lost_whether_its_job_has_begun_or_not() {
        let error = strict(true).check().unwrap_err();
        assert!(error.downcast_ref::<MachineLost>().is_some_and(|lost| lost.begun));
        let mut booting = strict(false);
        booting.heard.signs().alive();
        let error = booting.check().unwrap_err();
        assert!(error.downcast_ref::<MachineLost>().is_some_and(|lost| !lost.begun));
    }

    #[test]
    fn output_that_nobody_takes_is_no_silence() {
        let mut clock = strict(true);
        let signs = clock.heard.signs();
        let writing = signs.said();
        assert!(clock.check().is_ok() && clock.check().is_ok());
        drop(writing);
        assert!(clock.check().is_err());
    }

    #[test]
    fn a_limit_that_was_asked_for_stands_in_place_of_that_for_silence() {
        let mut clock = clock(Some(1));
        clock.booted(Duration::ZERO);
        assert!(clock.check().is_ok());
        clock.started = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        assert!(clock.check().unwrap_err().to_string().contains("did not end in 1 s"));
    }
}
