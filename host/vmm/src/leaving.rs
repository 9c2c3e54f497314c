//! The end of a run, which nothing can hold up: a wait for another thread has a deadline, and a signal ends it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::sandbox::{Kind, Sandbox};
use crate::signals;
use crate::vcpu::Vcpu;
use crate::vcpu::kick;

/// Longer than any ioctl or output takes that a vCPU can be in.
const LONGEST: Duration = Duration::from_secs(10);
/// A kick that came to nothing is given again.
const NEXT_KICK: Duration = Duration::from_millis(100);

/// The threads of the vCPUs.
pub(crate) struct VcpuThreads {
    threads: Vec<JoinHandle<Vcpu>>,
    /// Each thread has a sender, and never sends.
    running: Receiver<()>,
}

impl VcpuThreads {
    /// Starts a thread of this kind for each vCPU. None runs the guest before all are restricted and `ready` has returned.
    ///
    /// # Errors
    /// If one cannot be started.
    pub(crate) fn start(
        vcpus: Vec<Vcpu>,
        sandbox: &Sandbox,
        kind: &'static Kind,
        ready: impl FnOnce(),
    ) -> Result<Self> {
        let (sender, running) = channel();
        let all = Arc::new(Barrier::new(vcpus.len() + 1));
        let spawn = |(index, vcpu): (usize, Vcpu)| {
            let running: Sender<()> = sender.clone();
            let (sandbox, all) = (sandbox.clone(), Arc::clone(&all));
            let run = move || {
                sandbox.enter(kind);
                all.wait();
                let _running = running;
                signals::leave_to_main_thread();
                vcpu.run()
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

    /// Has all threads end, and waits a moment for it. Whether they have.
    pub(crate) fn end(&self) -> bool {
        self.threads.iter().for_each(kick::kick);
        self.running.recv_timeout(NEXT_KICK) != Err(RecvTimeoutError::Timeout)
    }

    /// The vCPUs of threads that have [ended](Self::end). One whose thread has panicked is not among them.
    pub(crate) fn into_vcpus(self) -> Vec<Vcpu> {
        let joined = |thread: JoinHandle<Vcpu>| {
            thread.join().inspect_err(|_| tracing::error!("a vCPU thread panicked")).ok()
        };
        self.threads.into_iter().filter_map(joined).collect()
    }

    /// Has all threads end, and waits for it. Whether they have: one that does not end in time goes on.
    pub(crate) fn stop(self) -> bool {
        let begun = Instant::now();
        while !self.end() {
            if begun.elapsed() >= LONGEST {
                return false;
            }
        }
        drop(self.into_vcpus());
        true
    }
}
