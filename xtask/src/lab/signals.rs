//! Ctrl-C and its kin: they end a running lab in order, and the program at once when no lab runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::flag;

static HANDLERS: OnceLock<Handlers> = OnceLock::new();

#[derive(Default)]
struct Handlers {
    received: Arc<AtomicUsize>,
    idle: Arc<AtomicBool>,
    resized: Arc<AtomicBool>,
}

/// While it lives, signals are noted here and end nothing.
pub(super) struct Watch {
    handlers: &'static Handlers,
}

impl Watch {
    pub(super) fn start() -> Result<Self> {
        let handlers = match HANDLERS.get() {
            Some(handlers) => handlers,
            None => {
                let handlers = Handlers::install().context("cannot install signal handlers")?;
                HANDLERS.get_or_init(|| handlers)
            }
        };
        handlers.idle.store(false, Ordering::SeqCst);
        Ok(Self { handlers })
    }

    /// The signal that asks us to end, if one came.
    pub(super) fn received(&self) -> Option<i32> {
        i32::try_from(self.handlers.received.load(Ordering::SeqCst)).ok().filter(|signal| *signal != 0)
    }

    /// Whether the terminal's size changed since the last question.
    pub(super) fn resized(&self) -> bool {
        self.handlers.resized.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handlers.idle.store(true, Ordering::SeqCst);
    }
}

impl Handlers {
    fn install() -> std::io::Result<Self> {
        let handlers = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&handlers.idle))?;
            flag::register_usize(signal, Arc::clone(&handlers.received), number)?;
        }
        flag::register(SIGWINCH, Arc::clone(&handlers.resized))?;
        Ok(handlers)
    }
}
