//! The thread that looks for storms.

use super::StormWatch;
use crate::service::Service;
use crate::service::bell::Bell;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A thread that looks for storms of a [`Service`]'s devices ([`StormWatch`]): every 25 ms while an interrupt could
/// come, and not at all otherwise. A storm ends within 100 ms, as far as the thread gets the CPU in time.
///
/// In each look it reads the line `intr` of `/proc/stat`, if a device is the host's, and the folder `msi_irqs` in sysfs of
/// each device of which an interrupt was started since the look before. No limit of the guest's is charged with it.
///
/// Dropping it ends the thread. A service has one such thread at most, and no other watch beside it. Without it, and
/// without a watch of the VMM's, storms are not found.
pub struct StormThread {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl StormThread {
    /// Starts the thread for `service`; none if its [`StormLimit`](super::StormLimit) is off.
    ///
    /// # Errors
    /// The error of creating a thread.
    pub fn start(service: &Arc<Service>) -> io::Result<Self> {
        let bell = Arc::clone(&service.storm_bell);
        if service.storm_limit.is_off() {
            return Ok(Self { bell, thread: None });
        }
        bell.begin();
        let service = Arc::clone(service);
        let thread = thread::Builder::new().name("pvir-storm".into()).spawn(move || watch(&service))?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for StormThread {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.bell.end();
            // A panic of the thread is reported by the panic hook, and the service works without the thread.
            let _ = thread.join();
        }
    }
}

fn watch(service: &Arc<Service>) {
    let mut watch = StormWatch::new(Arc::clone(service));
    loop {
        // An interrupt that is started from here on rings.
        service.storm_bell.silence();
        let in_use = watch.look(service.clock.now()).in_use;
        let goes_on =
            if in_use { service.storm_bell.pass(StormWatch::PERIOD) } else { service.storm_bell.hear() };
        if !goes_on {
            return;
        }
    }
}
