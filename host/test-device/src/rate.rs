//! The rate generator: raises a range of interrupts again and again, from a thread, while the guest does other things.

use super::model::DeviceModel;
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// The number of rounds that a plan can have at most: a bound on the time for which a guest can keep the device busy.
pub(crate) const MAX_ROUNDS: u32 = 1 << 20;

/// Which interrupts to raise, how often and how fast.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct RatePlan {
    /// Numbers of the interrupts that each round raises, all of them; those that do not exist are ignored.
    pub(crate) interrupts: Range<u32>,
    /// The time from one round to the next. A round that comes late is not left out.
    pub(crate) interval: Duration,
    /// The number of rounds; [`MAX_ROUNDS`] at most.
    pub(crate) rounds: u32,
}

impl RatePlan {
    /// Whether the registers can ask for it: they have microseconds, in 32 bits.
    pub(crate) fn is_possible(&self) -> bool {
        (1..=u128::from(u32::MAX)).contains(&self.interval.as_micros())
    }
}

#[derive(Debug)]
struct Running {
    plan: RatePlan,
    left: u32,
    next: Instant,
}

#[derive(Debug, Default)]
struct RateJob {
    running: Option<Running>,
    paused: bool,
    over: bool,
}

/// The plan that runs, shared by the device and the thread.
#[derive(Debug, Default)]
pub(crate) struct RateGenerator {
    job: Mutex<RateJob>,
    changed: Condvar,
}

impl RateGenerator {
    fn job(&self) -> MutexGuard<'_, RateJob> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a plan in place of the one that runs.
    pub(crate) fn run(&self, plan: RatePlan) {
        let left = plan.rounds.min(MAX_ROUNDS);
        self.job().running = (left > 0).then(|| Running { plan, left, next: Instant::now() });
        self.changed.notify_all();
    }

    /// Stops the plan: when it returns nothing more is raised.
    pub(crate) fn stop(&self) {
        // The thread raises under this lock.
        self.job().running = None;
    }

    /// The plan that runs, and the number of rounds that are left.
    pub(crate) fn running(&self) -> Option<(RatePlan, u32)> {
        self.job().running.as_ref().map(|running| (running.plan.clone(), running.left))
    }

    /// Pauses the plan: when it returns nothing more is raised, until it goes on. Rounds of meanwhile come then.
    pub(crate) fn set_paused(&self, paused: bool) {
        // The thread raises under this lock.
        self.job().paused = paused;
        self.changed.notify_all();
    }

    /// The number of rounds that are left.
    pub(crate) fn left(&self) -> u32 {
        self.job().running.as_ref().map_or(0, |running| running.left)
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        *self.job() = RateJob { running: None, paused: false, over: true };
        self.changed.notify_all();
    }

    /// Starts the thread; it ends with the device.
    pub(crate) fn start_thread(self: &Arc<Self>, model: &Arc<DeviceModel>) -> io::Result<()> {
        let (generator, model) = (Arc::clone(self), Arc::downgrade(model));
        thread::Builder::new().name("emulated-rate".into()).spawn(move || generator.work(&model))?;
        Ok(())
    }

    fn work(&self, model: &Weak<DeviceModel>) {
        while self.wait_for_a_round() {
            // Dropped after the lock: the last one ends this generator.
            let Some(model) = model.upgrade() else { return };
            self.round(&model);
        }
    }

    /// Blocks until a round is due; answers whether the device still exists.
    fn wait_for_a_round(&self) -> bool {
        let mut job = self.job();
        loop {
            if job.over {
                return false;
            }
            job = match job.running.as_ref().filter(|_| !job.paused) {
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

    fn round(&self, model: &DeviceModel) {
        let mut job = self.job();
        // It may have been stopped, or replaced by one that is not due.
        let paused = job.paused;
        let due = |running: &&mut Running| !paused && running.next <= Instant::now();
        let Some(running) = job.running.as_mut().filter(due) else { return };
        running.left -= 1;
        running.next += running.plan.interval;
        let end = running.plan.interrupts.end.min(model.layout().interrupts());
        (running.plan.interrupts.start..end).for_each(|number| model.raise(number));
        if running.left == 0 {
            job.running = None;
        }
    }
}
