//! What a run gives up when the guest starts: a taken-over VMM can do with the host what the lists here say, and no more.
//!
//! Each thread takes the seccomp filter of its kind, and Landlock's rules where the kernel has them, before it does
//! anything for the guest. It gains no privileges from then on. `kinds` has what each may do, and why.

mod call;
mod files;
mod filter;
mod groups;
pub(crate) mod kinds;
mod request;
#[cfg(test)]
mod tests;
mod violation;

use std::cell::Cell;
use std::io::Write;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use seccompiler::SeccompAction;

pub(crate) use files::Landlock;
use filter::Filter;
use kinds::Files;
pub(crate) use kinds::Kind;

use crate::exit_code;

/// Whether threads are restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum SandboxMode {
    /// No thread is
    Off,
    /// The kernel logs what is not in the lists, and does it
    Log,
    /// What is not in the lists ends the run
    #[default]
    On,
}

const REFUSED: &str =
    "this kernel does not let threads be restricted\nhelp: `--sandbox off` runs the guest without";

/// The sandbox of a run.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox(Arc<State>);

#[derive(Debug)]
struct State {
    mode: SandboxMode,
    /// In the order of [`kinds::ALL`]; none with [`SandboxMode::Off`].
    filters: Vec<Filter>,
    landlock: OnceLock<Landlock>,
    socket_folders: Mutex<Vec<PathBuf>>,
}

thread_local! {
    /// As what this thread is restricted.
    static ENTERED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

impl Sandbox {
    /// No thread is restricted.
    pub(crate) fn off() -> Self {
        Self::of(SandboxMode::Off, Vec::new())
    }

    fn of(mode: SandboxMode, filters: Vec<Filter>) -> Self {
        Self(Arc::new(State { mode, filters, landlock: OnceLock::new(), socket_folders: Mutex::default() }))
    }

    /// Prepares all filters, and tries one. `before_the_end` is called in the signal handler of a violation, where little
    /// is allowed.
    ///
    /// # Errors
    /// If the kernel has no seccomp filters.
    pub(crate) fn new(mode: SandboxMode, before_the_end: fn()) -> Result<Self> {
        let otherwise = match mode {
            SandboxMode::Off => return Ok(Self::off()),
            SandboxMode::Log => SeccompAction::Log,
            SandboxMode::On => SeccompAction::Trap,
        };
        let filter = |kind: &&Kind| Filter::new(kind, otherwise.clone(), process::id());
        let filters = kinds::ALL.iter().map(filter).collect::<Result<Vec<_>>>()?;
        let sandbox = Self::of(mode, filters);
        violation::install_handler(before_the_end)?;
        // On a thread that does nothing else.
        let tried = thread::scope(|scope| scope.spawn(|| sandbox.restrict(&kinds::OUTPUT)).join());
        let tried = tried.map_err(|_| anyhow!("the thread that tries it panicked"))?;
        let landlock = tried.context(REFUSED)?;
        sandbox.0.landlock.get_or_init(|| landlock);
        Ok(sandbox)
    }

    /// What the kernel has of Landlock; with [`SandboxMode::On`], which alone uses it.
    pub(crate) fn landlock(&self) -> Option<Landlock> {
        self.0.landlock.get().copied().filter(|_| self.0.mode == SandboxMode::On)
    }

    /// Tells in the log what the kernel lacks.
    pub(crate) fn tell(&self) {
        if let Some(Landlock::Missing | Landlock::NotStarted) = self.landlock() {
            tracing::info!(
                "sandbox: the kernel has no Landlock: files are kept from threads by seccomp alone"
            );
        }
    }

    /// The folder of a socket whose file is removed at the end. To be said before the main thread enters.
    pub(crate) fn will_remove_from(&self, folder: PathBuf) {
        self.0.socket_folders.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
    }

    /// Restricts the calling thread for good, and the threads that it starts; once, however often it is called. A thread
    /// that cannot be restricted ends the process: it must not go on.
    pub(crate) fn enter(&self, kind: &'static Kind) {
        if self.0.mode == SandboxMode::Off || ENTERED.replace(Some(kind.name)) == Some(kind.name) {
            return;
        }
        if let Err(error) = self.restrict(kind) {
            let line = format!("pvir: the thread {} cannot be restricted: {error:#}\n", kind.name);
            let _ = std::io::stderr().write_all(line.as_bytes());
            process::exit(exit_code::ENVIRONMENT.into());
        }
    }

    /// Calls `start` on a thread of its own that is restricted as `kind`: all threads that somebody else's code starts
    /// there are so from their first instruction.
    ///
    /// # Errors
    /// If no thread can be started; its panic.
    pub(crate) fn start_within<T: Send>(
        &self,
        kind: &'static Kind,
        start: impl FnOnce() -> T + Send,
    ) -> Result<T> {
        if self.0.mode == SandboxMode::Off {
            return Ok(start());
        }
        let within = || {
            self.enter(kind);
            start()
        };
        thread::scope(|scope| {
            let starter = thread::Builder::new().name(kind.name.to_owned()).spawn_scoped(scope, within);
            let starter = starter.context("cannot start a thread")?;
            starter.join().map_err(|_| anyhow!("a thread that starts others panicked"))
        })
    }

    fn restrict(&self, kind: &'static Kind) -> Result<Landlock> {
        let mut landlock = Landlock::Missing;
        if self.0.mode == SandboxMode::On && kind.files != Files::Inherited {
            let folders = self.0.socket_folders.lock().unwrap_or_else(PoisonError::into_inner);
            landlock = files::restrict(kind.files, &folders).context("Landlock")?;
        }
        let at = kinds::ALL.iter().position(|known| known.name == kind.name);
        let filter = at.and_then(|at| self.0.filters.get(at)).context("no such kind of thread")?;
        filter.apply().context("seccomp")?;
        Ok(landlock)
    }
}
