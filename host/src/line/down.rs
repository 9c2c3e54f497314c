//! Taking lines down: stop the device's interrupts, detach the irqfds, drop the routes.

use super::runs::{GiveUp, Request, by_runs};
use super::{DeviceSet, Line, LineError, LineOwner, LineTable, Step};
use crate::work::{Cost, WorkMeter};
use std::io;

impl LineTable {
    /// Takes the lines of `owners` down. A failure does not stop the rest: the answer has every error, and each line
    /// knows what it still holds.
    ///
    /// Where a [`PrearmThread`](crate::service::PrearmThread) runs, an irqfd whose interrupt has stopped is left to
    /// that thread: nothing signals it any more, and without a route it delivers nothing. The irqfd is detached here,
    /// before its route is dropped, in three cases: no such thread runs, the interrupt could not be stopped, or KVM
    /// may have an injection queued for it.
    pub fn bring_down<T: LineOwner>(
        &mut self,
        devices: &mut impl DeviceSet,
        owners: &mut [T],
    ) -> Vec<LineError> {
        let mut errors = Vec::new();
        self.stop(devices, owners, &mut errors);
        self.detach_for_good(owners, &mut errors);
        self.unroute(owners, &mut errors);
        errors
    }

    /// Whether detaching a line's irqfd may be left to the thread that calls [`LineTable::prearm`].
    fn may_retire(&self, line: &Line) -> bool {
        self.waiting.retires() && line.ends_with_its_route()
    }

    fn stop<T: LineOwner>(
        &mut self,
        devices: &mut impl DeviceSet,
        owners: &mut [T],
        errors: &mut Vec<LineError>,
    ) {
        let mut started = Vec::with_capacity(owners.len());
        owners.iter_mut().filter(|owner| owner.lines().is_started()).for_each(|owner| started.push(owner));
        self.freed += started.len() as u64;
        let failed = |owner: &mut T, request, source| {
            errors.push(LineError { origin: owner.origin(), step: Step::Stop, request, source });
        };
        let work = &self.work;
        by_runs(started, GiveUp::Never, |run| stop_run(devices, run, work), failed);
    }

    /// Detaches the irqfds that are not left to another thread; lines without an irqfd are passed over. An irqfd
    /// whose interrupt could not be stopped is detached too, so that it interrupts no vCPU.
    fn detach_for_good<T: LineOwner>(&mut self, owners: &mut [T], errors: &mut Vec<LineError>) {
        for owner in owners {
            let mut first = None;
            for line in owner.lines_mut().iter_mut() {
                if !self.may_retire(line) {
                    first = first.or(self.detach(line).err());
                }
            }
            if let Some(source) = first {
                errors.push(LineError {
                    origin: owner.origin(),
                    step: Step::Detach,
                    request: Request::Alone,
                    source,
                });
            }
        }
    }

    /// A GSI whose irqfd may still be signalled keeps its route, and stays out of use.
    fn unroute<T: LineOwner>(&mut self, owners: &mut [T], errors: &mut Vec<LineError>) {
        for owner in owners.iter_mut() {
            for line in owner.lines_mut().iter_mut() {
                if !line.is_attached() || self.may_retire(line) {
                    self.stage(line, None);
                }
            }
        }
        if let (Err(source), Some(owner)) = (self.apply(), owners.first()) {
            errors.push(LineError {
                origin: owner.origin(),
                step: Step::Unroute,
                request: Request::Run,
                source,
            });
        }
    }
}

fn stop_run<T: LineOwner>(
    devices: &mut impl DeviceSet,
    run: &mut [&mut T],
    work: &WorkMeter,
) -> io::Result<()> {
    let Some(first) = run.first().map(LineOwner::origin) else { return Ok(()) };
    let count: u32 = run.iter().map(|owner| owner.lines().count()).sum();
    work.add(Cost::interrupts(count as usize));
    let device = devices.device(first.device).ok_or(io::ErrorKind::NotFound)?;
    device.stop(first.store, first.index, count)?;
    let stopped = run.iter_mut().flat_map(|owner| owner.lines_mut().iter_mut());
    stopped.for_each(|line: &mut Line| line.set_started(false));
    Ok(())
}
