//! When a lab has taken too long: it has a limit of its own, or says nothing any more.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use patience::Patience;

/// How long L1 may say nothing as it boots, on an idle machine: it is up in 2 s.
const BOOT_SILENCE: Duration = Duration::from_secs(30);

/// L1 did not come up, and the command was not begun: QEMU's emulator has livelocks of its own on a busy machine. Whoever
/// wants to can begin anew.
#[derive(Debug)]
pub(crate) struct NotUp(pub(super) String);

impl fmt::Display for NotUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for NotUp {}

/// What tells that the machine lives: frames on the channel, and its console.
pub(super) struct Heard {
    frames: Arc<AtomicU64>,
    console: PathBuf,
}

impl Heard {
    pub(super) fn new(console: PathBuf) -> Self {
        Self { frames: Arc::default(), console }
    }

    /// The counter of frames, for whoever receives them.
    pub(super) fn frames(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.frames)
    }

    /// Changes with whatever is heard.
    fn sum(&self) -> u64 {
        let console = self.console.metadata().map_or(0, |file| file.len());
        console + self.frames.load(Ordering::Relaxed)
    }
}

/// The limits of time of a lab.
pub(super) struct Clock {
    started: Instant,
    /// For the whole, as the user has asked for it.
    limit: Option<Duration>,
    /// For what has been heard, unless the user waits for nothing else.
    silence: Option<Patience>,
    interactive: bool,
    is_up: bool,
    heard: Heard,
    known: u64,
}

impl Clock {
    pub(super) fn start(timeout: Option<u64>, interactive: bool, heard: Heard) -> Self {
        let limit = timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let silence = Some(Patience::new(BOOT_SILENCE));
        Self {
            started: Instant::now(),
            limit,
            silence,
            interactive: interactive || timeout.is_some(),
            is_up: false,
            heard,
            known: 0,
        }
    }

    /// From now on the command runs, which may say nothing for longer, or for as long as it likes.
    pub(super) fn booted(&mut self, silence: Duration) {
        self.is_up = true;
        self.silence = (!self.interactive).then(|| Patience::new(silence));
    }

    /// Fails if a limit has passed.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(limit) = self.limit.filter(|limit| self.started.elapsed() > *limit) {
            bail!("the command did not end in {} s; help: --timeout sets another limit", limit.as_secs());
        }
        let Some(patience) = &mut self.silence else { return Ok(()) };
        let now = self.heard.sum();
        if now != self.known {
            self.known = now;
            patience.progress();
        } else if patience.is_over() {
            let waited = patience.waited().as_secs();
            let said = format!(
                "the lab's machine said nothing for {waited} s; help: --timeout sets a limit in its place"
            );
            return Err(if self.is_up { anyhow!(said) } else { NotUp(said).into() });
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

    #[test]
    fn silence_ends_a_lab_and_output_does_not() {
        let mut clock = clock(None);
        assert!(clock.check().is_ok());
        clock.booted(Duration::ZERO);
        clock.heard.frames().fetch_add(1, Ordering::Relaxed);
        assert!(clock.check().is_ok());
        assert!(clock.check().unwrap_err().to_string().contains("said nothing"));
    }

    #[test]
    fn a_machine_that_does_not_come_up_is_told_from_one_that_falls_silent() {
        let mut clock = clock(None);
        clock.silence = Some(Patience::new(Duration::ZERO));
        assert!(clock.check().unwrap_err().is::<NotUp>());
        clock.booted(Duration::ZERO);
        assert!(!clock.check().unwrap_err().is::<NotUp>());
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
