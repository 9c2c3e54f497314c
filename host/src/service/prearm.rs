//! Lines armed ahead: an eventfd attached to a GSI before an entry wants it, so that MAP asks the kernel for neither; and
//! irqfds taken off after an entry has left them, so that UNMAP and DISABLE need not wait.
//!
//! Only a guest that has enabled pvir has lines armed ahead, and no more than it can still map: when all is mapped, none
//! waits.

use super::Service;
use super::vm::Vm;
use crate::line::Progress;
use std::io;
use std::sync::atomic::Ordering;
use std::thread;

impl Vm {
    /// How many lines are to wait: no more than can still be mapped.
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

    /// Whether there is work for the thread that arms ahead: fewer than half of the lines wait, so that it is not woken
    /// by every single MAP, or an irqfd is to be taken off.
    pub(super) fn wants_prearm(&self) -> bool {
        2 * self.lines.armed() < self.max_armed() || self.lines.retired() > 0
    }

    fn prearm_one(&mut self) -> io::Result<Progress> {
        let max_armed = self.max_armed();
        self.lines.prearm(max_armed)
    }
}

impl Service {
    /// Takes off the irqfds that entries have left, and arms as many lines as are wanted ahead
    /// ([`Config::armed_ahead`](super::Config::armed_ahead)). A call of the guest that comes meanwhile goes first, and waits
    /// for one line at most. A [`PrearmThread`](super::PrearmThread) does this whenever there is something to do.
    pub fn arm_ahead(&self) {
        loop {
            while self.waiting.load(Ordering::Relaxed) > 0 {
                thread::yield_now();
            }
            let mut vm = self.lock();
            match vm.prearm_one() {
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

    /// Number of lines that wait, armed ahead.
    #[must_use]
    pub fn armed_ahead(&self) -> usize {
        self.lock().lines.armed()
    }

    /// Whether somebody takes irqfds off after UNMAP and DISABLE have returned. What is left is taken off here when
    /// nobody does any more.
    pub(super) fn set_retires(&self, retires: bool) {
        let mut vm = self.lock();
        vm.lines.set_retires(retires);
        while !retires && matches!(vm.lines.prearm(0), Ok(Progress::Done)) {}
    }
}
