//! The end of a run, which nothing can hold up: a wait for another thread has a deadline, and a signal ends it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::sandbox::{Sandbox, kinds};
use crate::vcpu::Vcpu;
use crate::vcpu::kick;

/// Longer than any ioctl or output takes that a vCPU can be in.
const LONGEST: Duration = Duration::from_secs(10);
/// A kick that came to nothing is given again.
const NEXT_KICK: Duration = Duration::from_millis(100);

/// The threads of the vCPUs.
pub(crate) struct VcpuThreads {
    threads: Vec<JoinHandle<()>>,
    /// Each thread has a sender, and never sends.
    running: Receiver<()>,
}

impl VcpuThreads {
    /// Starts a thread for each vCPU. None runs the guest before all are restricted and `ready` has returned.
    ///
    /// # Errors
    /// If one cannot be started.
    pub(crate) fn start(vcpus: Vec<Vcpu>, sandbox: &Sandbox, ready: impl FnOnce()) -> Result<Self> {
        let (sender, running) = channel();
        let all = Arc::new(Barrier::new(vcpus.len() + 1));
        let spawn = |(index, vcpu): (usize, Vcpu)| {
            let running: Sender<()> = sender.clone();
            let (sandbox, all) = (sandbox.clone(), Arc::clone(&all));
            let run = move || {
                sandbox.enter(&kinds::VCPU);
                all.wait();
                let _running = running;
                vcpu.run();
            };
            thread::Builder::new().name(format!("vcpu{index}")).spawn(run).with_context(|| {
                format!("cannot start the thread of vCPU {index}\nhelp: `ulimit -u` limits threads")
            })
        };
        let threads = vcpus.into_iter().enumerate().map(spawn).collect::<Result<_>>()?;
        ready();
        all.wait();
        Ok(Self { threads, running })
    }

    /// Has all threads end, and waits for it. Whether they have: one that does not end in time goes on.
    pub(crate) fn stop(self) -> bool {
        let begun = Instant::now();
        loop {
            self.threads.iter().for_each(kick::kick);
            match self.running.recv_timeout(NEXT_KICK) {
                Err(RecvTimeoutError::Timeout) if begun.elapsed() < LONGEST => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a vCPU thread panicked");
            }
        }
        true
    }
}
