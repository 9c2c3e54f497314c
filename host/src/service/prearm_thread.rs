//! The thread that arms lines ahead, and the bell that wakes it.

use super::Service;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Rung by a call that has left too few lines waiting.
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

    /// Costs a system call at most once until it is heard.
    pub(super) fn ring(&self) {
        let mut state = self.lock();
        if *state == BellState::Silent {
            *state = BellState::Rung;
            drop(state);
            self.changed.notify_one();
        }
    }

    fn end(&self) {
        *self.lock() = BellState::Ended;
        self.changed.notify_one();
    }

    /// Waits until it is rung; `false` at the end.
    fn hear(&self) -> bool {
        let silent = |state: &mut BellState| *state == BellState::Silent;
        let heard = self.changed.wait_while(self.lock(), silent);
        let mut state = heard.unwrap_or_else(PoisonError::into_inner);
        let rung = *state == BellState::Rung;
        if rung {
            *state = BellState::Silent;
        }
        rung
    }
}

/// A thread that keeps lines armed ahead for a [`Service`]. Dropping it ends the thread; the lines stay.
///
/// Without one, the service works all the same: MAP then asks for each eventfd and `KVM_IRQFD` itself.
pub struct PrearmThread {
    bell: Arc<Bell>,
    service: Arc<Service>,
    thread: Option<JoinHandle<()>>,
}

impl PrearmThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// As the system gave it.
    pub fn start(service: Arc<Service>) -> io::Result<Self> {
        let bell = Arc::clone(&service.bell);
        let work = {
            let (bell, service) = (Arc::clone(&bell), Arc::clone(&service));
            move || {
                while bell.hear() {
                    service.arm_ahead();
                }
            }
        };
        let thread = thread::Builder::new().name("pvir-prearm".into()).spawn(work)?;
        service.set_retires(true);
        Ok(Self { bell, service, thread: Some(thread) })
    }
}

impl Drop for PrearmThread {
    fn drop(&mut self) {
        self.bell.end();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
        self.service.set_retires(false);
    }
}
