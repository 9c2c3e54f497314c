//! The rate generator: raises a range of interrupts again and again, from a thread, while the guest does other things.

use super::core::Core;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Most rounds of a plan: a bound on the time for which a guest can keep the device busy.
pub const MAX_ROUNDS: u32 = 1 << 20;

/// What to raise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Numbers of the interrupts that each round raises, all of them; those that do not exist are ignored.
    pub interrupts: Range<u32>,
    /// From one round to the next. A round that comes late is not left out.
    pub interval: Duration,
    /// How many; [`MAX_ROUNDS`] at most.
    pub rounds: u32,
}

#[derive(Debug)]
struct Running {
    plan: Plan,
    left: u32,
    next: Instant,
}

#[derive(Debug, Default)]
struct Job {
    running: Option<Running>,
    over: bool,
}

/// The plan that runs, shared by the device and the thread.
#[derive(Debug, Default)]
pub(super) struct Generator {
    job: Mutex<Job>,
    changed: Condvar,
}

impl Generator {
    fn job(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a plan in place of the one that runs.
    pub(super) fn run(&self, plan: Plan) {
        let left = plan.rounds.min(MAX_ROUNDS);
        self.job().running = (left > 0).then(|| Running { plan, left, next: Instant::now() });
        self.changed.notify_all();
    }

    /// Stops: when it returns nothing more is raised.
    pub(super) fn stop(&self) {
        // The thread raises under this lock.
        self.job().running = None;
    }

    /// How many rounds are left.
    pub(super) fn left(&self) -> u32 {
        self.job().running.as_ref().map_or(0, |running| running.left)
    }

    /// Ends the thread.
    pub(super) fn end(&self) {
        *self.job() = Job { running: None, over: true };
        self.changed.notify_all();
    }

    /// Starts the thread; it ends with the device.
    pub(super) fn watch(self: &Arc<Self>, core: &Arc<Core>) -> io::Result<()> {
        let (generator, core) = (Arc::clone(self), Arc::downgrade(core));
        thread::Builder::new().name("emulated-rate".into()).spawn(move || generator.work(&core))?;
        Ok(())
    }

    fn work(&self, core: &Weak<Core>) {
        while self.wait_for_a_round() {
            // Dropped after the lock: the last one ends this generator.
            let Some(core) = core.upgrade() else { return };
            self.round(&core);
        }
    }

    /// Blocks until a round is due; answers whether the device still exists.
    fn wait_for_a_round(&self) -> bool {
        let mut job = self.job();
        loop {
            if job.over {
                return false;
            }
            job = match &job.running {
                None => self.changed.wait(job).unwrap_or_else(PoisonError::into_inner),
                Some(running) => {
                    let wait = running.next.saturating_duration_since(Instant::now());
                    if wait.is_zero() {
                        return true;
                    }
                    self.changed.wait_timeout(job, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn round(&self, core: &Core) {
        let mut job = self.job();
        // It may have been stopped, or replaced by one that is not due.
        let Some(running) = job.running.as_mut().filter(|running| running.next <= Instant::now()) else {
            return;
        };
        running.left -= 1;
        running.next += running.plan.interval;
        let end = running.plan.interrupts.end.min(core.shape().interrupts());
        (running.plan.interrupts.start..end).for_each(|number| core.raise(number));
        if running.left == 0 {
            job.running = None;
        }
    }
}
