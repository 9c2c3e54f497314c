//! The bell by which a call wakes a thread of the service.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a call rings when it has left something to do for a thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<BellState>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum BellState {
    #[default]
    Silent,
    Rung,
    Ended,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, BellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread. This is at most one system call until the thread hears it.
    pub(super) fn ring(&self) {
        let mut state = self.lock();
        if *state == BellState::Silent {
            *state = BellState::Rung;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Tells the thread to end.
    pub(super) fn end(&self) {
        *self.lock() = BellState::Ended;
        self.changed.notify_one();
    }

    /// Undoes [`end`](Self::end), for the next thread.
    pub(super) fn begin(&self) {
        *self.lock() = BellState::Silent;
    }

    /// Forgets what was rung until now.
    pub(super) fn silence(&self) {
        let mut state = self.lock();
        if *state == BellState::Rung {
            *state = BellState::Silent;
        }
    }

    /// Waits until the bell is rung; `false` once the thread is to end.
    pub(super) fn hear(&self) -> bool {
        let silent = |state: &mut BellState| *state == BellState::Silent;
        let heard = self.changed.wait_while(self.lock(), silent);
        let mut state = heard.unwrap_or_else(PoisonError::into_inner);
        let rung = *state == BellState::Rung;
        if rung {
            *state = BellState::Silent;
        }
        rung
    }

    /// Waits for so long, whether or not it is rung; `false` once the thread is to end.
    pub(super) fn pass(&self, time: Duration) -> bool {
        let goes_on = |state: &mut BellState| *state != BellState::Ended;
        let waited = self.changed.wait_timeout_while(self.lock(), time, goes_on);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *state != BellState::Ended
    }
}
