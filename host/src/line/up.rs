//! Starting the device's interrupts: the last step of a line's way up.

use super::runs::{GiveUp, Request, by_runs};
use super::{DeviceSet, Line, LineOwner, LineTable};
use crate::eventfd::EventFd;
use crate::work::Cost;
use std::io;

impl LineTable {
    /// Starts the interrupts of all `owners`, with one [`Device::start`](crate::device::Device::start) for each run
    /// of consecutive entries. `failed` is called for each request that failed, with the device's error. Once the host
    /// has no more of what an interrupt takes, the other entries of the store fail with the same error, and are not
    /// tried.
    pub fn start<T: LineOwner>(
        &self,
        devices: &mut impl DeviceSet,
        owners: Vec<&mut T>,
        failed: impl FnMut(&mut T, Request, io::Error),
    ) {
        by_runs(owners, GiveUp::WhenUsedUp, |run| start_run(self, devices, run), failed);
    }

    /// Whether a line's interrupt may be started: an attached irqfd must have a route (the rule of the module).
    fn may_start(&self, line: &Line) -> bool {
        !line.is_attached() || self.is_routed(line)
    }
}

fn start_run<T: LineOwner>(
    lines: &LineTable,
    devices: &mut impl DeviceSet,
    run: &mut [&mut T],
) -> io::Result<()> {
    let Some(first) = run.first().map(LineOwner::origin) else { return Ok(()) };
    let mut eventfds: Vec<&EventFd> = Vec::with_capacity(run.len());
    for owner in run.iter() {
        for line in owner.lines().iter() {
            if !lines.may_start(line) {
                return Err(io::Error::other("its irqfd has no route"));
            }
            eventfds.push(line.eventfd());
        }
    }
    let device = devices.device(first.device).ok_or(io::ErrorKind::NotFound)?;
    let may_be_shared = !device.releases_eventfds();
    lines.work.add(Cost::interrupts(eventfds.len()));
    lines.started.set(true);
    let outcome = device.start(first.store, first.index, &eventfds);
    for line in run.iter_mut().flat_map(|owner| owner.lines_mut().iter_mut()) {
        // A device that fails has had them all the same.
        line.set_may_be_shared(may_be_shared);
        if outcome.is_ok() {
            line.set_started(true);
        }
    }
    outcome
}
