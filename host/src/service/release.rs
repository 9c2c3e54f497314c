//! Giving IRTEs back, from whatever state they have reached.

use super::vm::Vm;
use crate::device::Origin;
use crate::irte::Irte;
use crate::line::{EntryLines, LineError, Request, Step};
use pvir_abi::{Handle, Status};
use std::collections::BTreeMap;
use std::io;

/// The entries whose way down failed, and the status that reports the failure.
pub(super) type Stuck = BTreeMap<Origin, Status>;

impl Step {
    /// The status by which the guest learns that the step failed with `error`.
    pub(super) fn status(self, error: &io::Error) -> Status {
        match self {
            Self::Start if error.raw_os_error() == Some(libc::ENOSPC) => Status::NO_HOST_VECTOR,
            Self::Start | Self::Stop => Status::DEVICE_ERROR,
            Self::Route | Self::Attach | Self::Detach | Self::Unroute => Status::HOST_ERROR,
        }
    }
}

impl Vm {
    /// Gives the IRTEs of `handles` back, in reverse of how they were made. Handles that name no IRTE are ignored.
    ///
    /// Every handle is stale afterwards. A failure is logged and does not stop the rest. What could not be released
    /// is kept, and every later release tries it again. The answer names the entries whose interrupt could not be
    /// stopped or whose irqfd could not be detached.
    pub(super) fn release(&mut self, handles: &[Handle]) -> Stuck {
        let mut leaving = Vec::with_capacity(handles.len());
        for handle in handles {
            if let Some(irte) = self.irtes.remove(*handle) {
                self.let_go(irte, &mut leaving);
            }
        }
        self.take_down(leaving)
    }

    /// Puts an IRTE that is in the table no more, or was never put there, among those that leave.
    pub(super) fn let_go(&mut self, irte: Irte, leaving: &mut Vec<EntryLines>) {
        self.leave(&irte);
        let Irte { origin, lines, .. } = irte;
        if self.lines.are_down(&lines) {
            // It was not routed so far: its irqfd, if it has one, was never used.
            self.lines.put_back(lines);
        } else {
            leaving.push(EntryLines { origin, lines });
        }
    }

    pub(super) fn take_down(&mut self, leaving: Vec<EntryLines>) -> Stuck {
        let errors = self.lines.release(&mut self.devices, leaving);
        self.log_all(&errors)
    }

    /// Frees the interrupt of an IRTE's entry for other IRTEs.
    fn leave(&mut self, irte: &Irte) {
        let Origin { device, store, index } = irte.origin;
        let Some(attached) = self.devices.get_mut(&device) else { return };
        if attached.mapped.clear(attached.device.backing(store, index)).is_some() {
            attached.held -= irte.count();
            self.held -= irte.count();
        }
    }

    /// Tries again to release what could not be released before.
    pub(super) fn sweep(&mut self) {
        let failed = self.lines.take_off_stuck();
        self.log_irqfds(&failed);
        let errors = self.lines.sweep(&mut self.devices, |_| true);
        self.log_all(&errors);
    }

    /// Whether an entry's interrupt was to be stopped and may still be started.
    pub(super) fn may_be_started(&self, origin: &Origin) -> bool {
        let backing = |of: &Origin| {
            let attached = self.devices.get(&of.device)?;
            Some((of.device, attached.device.backing(of.store, of.index)))
        };
        self.lines.may_be_started(|other| other.device == origin.device && backing(other) == backing(origin))
    }

    /// Logs what failed on the way down; answers with what is to be reported of it.
    fn log_all(&self, errors: &[LineError]) -> Stuck {
        let alone = errors.iter().filter(|error| error.request == Request::Alone);
        let stuck = alone.map(|LineError { origin, step, source, .. }| {
            (*origin, self.failed(step.name(), origin, step.status(source), source))
        });
        let stuck = stuck.collect();
        for LineError { origin, step, source, .. } in
            errors.iter().filter(|error| error.step == Step::Unroute)
        {
            self.failed(step.name(), origin, Status::OK, source);
        }
        stuck
    }

    pub(super) fn log_irqfds(&self, failed: &[(Option<u32>, io::Error)]) {
        for (gsi, error) in failed {
            let gsi = gsi.unwrap_or(0);
            self.log.warn(|| format!("detaching GSI {gsi}, which no entry has, failed: {error}"));
        }
    }
}
