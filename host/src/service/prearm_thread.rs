//! The thread that arms irqfds ahead of MAP and detaches them after UNMAP, and the bell that wakes it.

use super::Service;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// What a call rings when it has left work for the thread: too few armed lines, or irqfds to be detached.
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

    fn end(&self) {
        *self.lock() = BellState::Ended;
        self.changed.notify_one();
    }

    /// Waits until the bell is rung; `false` once the thread is to end.
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

/// A thread that does the slow part of a [`Service`]'s work on irqfds beside the guest's calls. It has two tasks:
///
/// - *Arming ahead.* It keeps up to [`Config::armed_ahead`](super::Config::armed_ahead) eventfds attached to GSIs.
///   MAP takes these instead of issuing `eventfd2` and `KVM_IRQFD` while the guest waits.
/// - *Detaching.* UNMAP and DISABLE stop the device's interrupts and drop the routes, and leave the irqfds to the
///   thread: an irqfd without route and without interrupt delivers nothing. KVM waits in each de-assignment for an
///   RCU grace period and for injections under way (`irqfd_shutdown` in virt/kvm/eventfd.c, Linux 6.12), so a guest
///   that waited for it would wait long. Only an irqfd for which KVM may have queued an injection is still detached
///   in the call.
///
/// The thread works under the VM's lock for one irqfd at a time, or for one batch of irqfds to be taken off by one
/// wait. A call that comes meanwhile goes first.
///
/// Running without the thread changes no answer of the service. MAP then issues `eventfd2` and `KVM_IRQFD` for each
/// entry itself. UNMAP and DISABLE issue `KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN` for each entry before they
/// answer, and the guest's call lasts as long as all of these together.
///
/// Dropping it ends the thread, and detaches the irqfds that are still to be detached. Lines that are armed stay
/// armed. A service has one such thread at most.
pub struct PrearmThread {
    bell: Arc<Bell>,
    service: Arc<Service>,
    thread: Option<JoinHandle<()>>,
}

impl PrearmThread {
    /// Starts the thread for `service`. It has no work before the guest enables pvir.
    ///
    /// # Errors
    /// The error of creating a thread. The service is then used without it.
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
            // A panic of the thread is reported by the panic hook, and the service works without the thread.
            let _ = thread.join();
        }
        self.service.set_retires(false);
    }
}
