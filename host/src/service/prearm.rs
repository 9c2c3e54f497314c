//! Arming irqfds ahead of MAP, and detaching them after UNMAP and DISABLE, beside the guest's calls.
//!
//! An armed line is an eventfd that is attached to a GSI before an entry needs it. Lines are armed only while a guest
//! has pvir enabled, and no more than it can still map: when everything is mapped, none is armed.

use super::Service;
use super::vm::Vm;
use crate::line::Progress;
use std::io;
use std::sync::atomic::Ordering;
use std::thread;

impl Vm {
    /// Maximum number of armed lines at this moment: no more than can still be mapped.
    fn max_armed(&self) -> usize {
        if self.session.is_none() || self.armed_ahead == 0 {
            return 0;
        }
        let open = self.devices.iter().filter(|(_, attached)| attached.open);
        let left = open.map(|(_, attached)| {
            let of = attached.capabilities;
            let entries = of.msix_entries.max(of.ims_entries).max(of.msi_messages);
            entries.min(self.max_irtes_per_device).saturating_sub(attached.held)
        });
        let left = left.fold(0, u32::saturating_add).min(self.max_irtes.saturating_sub(self.held));
        self.armed_ahead.min(left) as usize
    }

    /// Whether the thread has work. Fewer than half of the lines are armed, so that not every single MAP wakes the
    /// thread; or an irqfd is to be detached.
    pub(super) fn wants_prearm(&self) -> bool {
        2 * self.lines.armed() < self.max_armed() || self.lines.retired() > 0
    }

    fn prearm_one(&mut self) -> io::Result<Progress> {
        let max_armed = self.max_armed();
        self.lines.prearm(max_armed)
    }
}

impl Service {
    /// Detaches the irqfds that UNMAP and DISABLE have left, if they leave any, and arms as many lines ahead as
    /// [`Config::armed_ahead`](super::Config::armed_ahead) allows. The VM's lock is taken for one line or batch at a time, and
    /// a call of the guest that comes meanwhile goes first. A [`PrearmThread`](super::PrearmThread) does this
    /// whenever there is work.
    ///
    /// A failure is logged and ends this call: MAP makes what it needs itself, and reports to the guest if it cannot.
    pub fn arm_ahead(&self) {
        loop {
            while self.waiting.load(Ordering::Relaxed) > 0 {
                thread::yield_now();
            }
            let mut vm = self.lock();
            let progress = vm.prearm_one();
            // The vCPUs pay for it with what they do next.
            self.charge(&mut vm);
            match progress {
                Ok(Progress::Done) => {}
                Ok(Progress::Idle) => return,
                Err(error) => {
                    // MAP makes what it needs by itself, and reports to the guest if it cannot.
                    vm.log.warn(|| format!("arming an irqfd ahead, or taking one off, failed: {error}"));
                    return;
                }
            }
        }
    }

    /// Number of lines that are armed ahead at this moment.
    #[must_use]
    pub fn armed_ahead(&self) -> usize {
        self.lock().lines.armed()
    }

    /// Sets whether another thread detaches irqfds after UNMAP and DISABLE have returned. When none does any more,
    /// those that are left are detached here.
    pub(super) fn set_retires(&self, retires: bool) {
        let mut vm = self.lock();
        vm.lines.set_retires(retires);
        while !retires && matches!(vm.lines.prearm(0), Ok(Progress::Done)) {}
    }
}
