//! Interrupts that wait for their entry to be unmasked.
//!
//! Unmasking costs no exit, so the device does not learn of it: nothing but a look at the table tells. A thread looks
//! while something waits, and the less often the longer nothing is unmasked ([`Pauses`]). It sleeps while nothing waits.

use super::model::DeviceModel;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// The times between two looks: each is twice the one before, up to a tenth of a second. So an interrupt comes, after its
/// entry is unmasked, about as late as it had waited until then, and a guest that leaves entries masked costs ten looks a
/// second.
#[derive(Debug, PartialEq, Eq)]
struct Pauses(Duration);

impl Pauses {
    const SHORTEST: Duration = Duration::from_micros(200);
    const LONGEST: Duration = Duration::from_millis(100);

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LONGEST);
        pause
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self(Self::SHORTEST)
    }
}

#[derive(Debug, Default)]
struct Held {
    waiting: BTreeSet<u32>,
    pauses: Pauses,
    over: bool,
}

#[derive(Debug, Default)]
pub(crate) struct HeldVectors {
    held: Mutex<Held>,
    changed: Condvar,
}

impl HeldVectors {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As often as a vector is raised while masked, it is sent once. One that waits already brings no earlier look.
    pub(crate) fn add(&self, vector: u32) {
        let mut held = self.held();
        if held.waiting.insert(vector) {
            held.pauses = Pauses::default();
            self.changed.notify_all();
        }
    }

    /// Takes a vector out; answers whether it waited.
    pub(crate) fn take(&self, vector: u32) -> bool {
        self.held().waiting.remove(&vector)
    }

    pub(crate) fn all(&self) -> Vec<u32> {
        self.held().waiting.iter().copied().collect()
    }

    /// The guest has unmasked an entry: it may be about to unmask others.
    fn hurry(&self) {
        self.held().pauses = Pauses::default();
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        self.held().over = true;
        self.changed.notify_all();
    }

    /// Blocks until it is time to look; answers whether the device still exists.
    fn wait_for_a_look(&self) -> bool {
        let idle = |held: &mut Held| held.waiting.is_empty() && !held.over;
        let mut held = self.changed.wait_while(self.held(), idle).unwrap_or_else(PoisonError::into_inner);
        if !held.over {
            let pause = held.pauses.next();
            // Earlier for a vector more, or for the end.
            let waited = self.changed.wait_timeout(held, pause);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !held.over
    }

    /// Starts the thread; it ends with the device.
    pub(crate) fn start_thread(self: &Arc<Self>, model: &Arc<DeviceModel>) -> io::Result<()> {
        let (held, model) = (Arc::clone(self), Arc::downgrade(model));
        thread::Builder::new().name("emulated".into()).spawn(move || held.look_at_masks(&model))?;
        Ok(())
    }

    fn look_at_masks(&self, model: &Weak<DeviceModel>) {
        while self.wait_for_a_look() {
            let Some(model) = model.upgrade() else { return };
            if model.send_pending() {
                self.hurry();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_masked_is_looked_at_ten_times_a_second() {
        let mut pauses = Pauses::default();
        let mut looks = 0;
        let mut time = Duration::ZERO;
        while time < Duration::from_secs(100) {
            let pause = pauses.next();
            // As long as it has waited, and a little.
            assert!(pause <= (time + Pauses::SHORTEST).min(Pauses::LONGEST), "{pause:?} after {time:?}");
            time += pause;
            looks += 1;
        }
        assert!(looks <= 1010, "{looks} looks in 100 s");
    }

    #[test]
    fn only_a_vector_more_brings_an_earlier_look() {
        let held = HeldVectors::default();
        held.add(1);
        (0..20).for_each(|_| _ = held.held().pauses.next());
        held.add(1);
        assert_eq!(held.held().pauses, Pauses(Pauses::LONGEST));
        held.add(2);
        assert_eq!(held.held().pauses, Pauses::default());
        assert_eq!((held.all(), held.take(2), held.take(2)), (vec![1, 2], true, false));
    }

    #[test]
    fn the_end_comes_while_nothing_waits() {
        let held = HeldVectors::default();
        thread::scope(|scope| {
            let waits = scope.spawn(|| held.wait_for_a_look());
            held.end();
            assert!(!waits.join().unwrap());
        });
    }
}
