//! The way down: the device's interrupts, the irqfds, then the routes.

use super::runs::{Request, by_runs};
use super::{DeviceSet, Line, LineError, LineOwner, LineTable, Step};
use std::io;

impl LineTable {
    /// Gives back what the lines of `owners` hold. A failure does not stop the rest: the answer has all of them, and the
    /// lines know what they still hold.
    ///
    /// Where somebody takes irqfds off later (a `PrearmThread`), the irqfd of an interrupt that has stopped
    /// stays for them. Nothing signals it any more, and once its route is gone an injection that KVM has still queued
    /// finds none, so that nothing can come of it. Otherwise, and where an interrupt would not stop, the irqfd goes
    /// before the route.
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

    /// Whether the irqfd of a line may be left to whoever takes them off.
    fn may_retire(&self, line: &Line) -> bool {
        self.waiting.retires() && !line.is_started()
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
        by_runs(started, |run| stop_run(devices, run), failed);
    }

    /// Also where the interrupt did not stop: nobody is to be interrupted by it.
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
        for owner in owners.iter() {
            for line in owner.lines().iter() {
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

fn stop_run<T: LineOwner>(devices: &mut impl DeviceSet, run: &mut [&mut T]) -> io::Result<()> {
    let Some(first) = run.first().map(LineOwner::origin) else { return Ok(()) };
    let count = run.iter().map(|owner| owner.lines().count()).sum();
    let device = devices.device(first.device).ok_or(io::ErrorKind::NotFound)?;
    device.stop(first.store, first.index, count)?;
    let stopped = run.iter_mut().flat_map(|owner| owner.lines_mut().iter_mut());
    stopped.for_each(|line: &mut Line| line.set_started(false));
    Ok(())
}
