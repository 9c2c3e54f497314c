//! Interrupts that wait for their entry to be unmasked.
//!
//! Unmasking costs no exit, so the device does not learn of it. It looks for itself, but only while something waits: a thread
//! sleeps until then.

use super::model::DeviceModel;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// How often masks are looked at while something waits.
const LOOK: Duration = Duration::from_micros(200);
/// How often the thread sees whether the device still exists.
const ALIVE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct HeldVectors {
    waiting: Mutex<BTreeSet<u32>>,
    added: Condvar,
}

impl HeldVectors {
    fn waiting(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As often as a vector is raised while masked, it is sent once.
    pub(crate) fn add(&self, vector: u32) {
        self.waiting().insert(vector);
        self.added.notify_one();
    }

    /// Takes a vector out; answers whether it waited.
    pub(crate) fn take(&self, vector: u32) -> bool {
        self.waiting().remove(&vector)
    }

    pub(crate) fn all(&self) -> Vec<u32> {
        self.waiting().iter().copied().collect()
    }

    /// Blocks until something waits, or for a while.
    fn wait(&self) {
        let waiting = self.waiting();
        if waiting.is_empty() {
            drop(self.added.wait_timeout(waiting, ALIVE));
        } else {
            drop(waiting);
            thread::sleep(LOOK);
        }
    }

    /// Starts the thread; it ends with the device.
    pub(crate) fn start_thread(model: &Arc<DeviceModel>) -> io::Result<()> {
        let model = Arc::downgrade(model);
        thread::Builder::new().name("emulated".into()).spawn(move || poll_masks(&model))?;
        Ok(())
    }
}

fn poll_masks(model: &Weak<DeviceModel>) {
    while let Some(model) = model.upgrade() {
        model.pending().wait();
        model.send_pending();
    }
}
