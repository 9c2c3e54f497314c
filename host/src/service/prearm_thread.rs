//! The thread that arms irqfds ahead of MAP and detaches them after UNMAP.

use super::Service;
use super::bell::Bell;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

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
