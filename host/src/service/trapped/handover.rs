//! The way down: a capability that is disabled, a device that is handed to the guest, the end of the VM. In reverse of
//! the way up: the device's interrupts, the irqfds, then the routes.

use super::line::{Held, Line};
use super::{Ground, Trapped};
use crate::service::vm::Vm;
use crate::trapped::Touched;
use pvir_abi::{DeviceId, Store};
use std::io;

impl Vm {
    /// Before a device is handed to the guest: takes down what it has trapped. The lines stay with what they hold back,
    /// until [`Vm::forget_trapped`] or [`Vm::resume_trapped`].
    ///
    /// # Errors
    /// If something did not come off: the device cannot be handed over.
    pub(in crate::service) fn suspend_trapped(&mut self, id: DeviceId) -> io::Result<()> {
        let Some((trapped, mut ground)) = self.trapped_of(id) else { return Ok(()) };
        trapped.sweep(&mut ground);
        let down = trapped.take_down(&mut ground);
        let unprepared = trapped.unprepare(&mut ground);
        if down && trapped.remains.is_empty() {
            return unprepared;
        }
        Err(io::Error::other("not all of its trapped interrupts could be stopped"))
    }

    /// After a device was handed to the guest: what was programmed before acts no more (T2).
    pub(in crate::service) fn forget_trapped(&mut self, id: DeviceId) {
        if let Some((trapped, mut ground)) = self.trapped_of(id) {
            trapped.forget(&mut ground);
        }
    }

    /// Acts again on what the emulated registers say: T3.
    pub(in crate::service) fn resume_trapped(&mut self, id: DeviceId) {
        self.follow(id, Touched::All);
    }

    /// After a device was taken back from the guest: T4.
    pub(in crate::service) fn retrap(&mut self, id: DeviceId) {
        if let Some((trapped, _)) = self.trapped_of(id) {
            trapped.emulation.clear();
        }
        self.follow(id, Touched::All);
    }

    /// The end of the VM, or its reset: as after a reset of every device.
    pub(in crate::service) fn end_trapped(&mut self) {
        let ids: Vec<DeviceId> = self.devices.iter().rev().map(|(id, _)| *id).collect();
        for id in ids {
            if let Some((trapped, mut ground)) = self.trapped_of(id) {
                trapped.emulation.reset();
                trapped.end(&mut ground);
            }
        }
    }
}

impl Trapped {
    /// Takes everything down and forgets it.
    pub(super) fn end(&mut self, ground: &mut Ground<'_>) {
        self.sweep(ground);
        self.take_down(ground);
        // Its failure was logged.
        let _ = self.unprepare(ground);
        self.forget(ground);
        self.sweep(ground);
    }

    /// Tries again what did not come off before.
    pub(super) fn sweep(&mut self, ground: &mut Ground<'_>) {
        if self.remains.is_empty() {
            return;
        }
        let store = self.emulation.store();
        let mut remains = std::mem::take(&mut self.remains);
        let mut lines: Vec<(u32, &mut Line)> =
            remains.iter_mut().map(|(index, line)| (*index, line)).collect();
        take_down(ground, store, &mut lines);
        self.keep(ground, remains);
    }

    /// Answers whether all came off.
    fn take_down(&mut self, ground: &mut Ground<'_>) -> bool {
        let store = self.emulation.store();
        let mut lines: Vec<(u32, &mut Line)> =
            self.lines.iter_mut().map(|(index, line)| (*index, line)).collect();
        take_down(ground, store, &mut lines);
        self.lines.values().all(|line| line.held == Held::default())
    }

    /// Ends what [`crate::device::Device::trap`] began. With it every interrupt of the store has ended: a device that
    /// fails at it is lost, and there is nothing left to be stopped.
    fn unprepare(&mut self, ground: &mut Ground<'_>) -> io::Result<()> {
        if !std::mem::take(&mut self.prepared) {
            return Ok(());
        }
        let done = ground.device.untrap(self.emulation.store());
        if let Err(error) = &done {
            ground.failed("releasing the device", 0, error);
        }
        let remaining = self.remains.iter_mut().map(|(_, line)| line);
        self.lines.values_mut().chain(remaining).for_each(|line| line.held.interrupt = false);
        done
    }

    /// Gives GSIs and eventfds back; what did not come off is kept among the remains.
    fn forget(&mut self, ground: &mut Ground<'_>) {
        self.unfinished.clear();
        let lines = std::mem::take(&mut self.lines);
        self.keep(ground, lines.into_iter().collect());
    }

    fn keep(&mut self, ground: &mut Ground<'_>, lines: Vec<(u32, Line)>) {
        for (index, line) in lines {
            if line.held == Held::default() {
                line.gsi.into_iter().for_each(|gsi| ground.gsis.give_back(gsi));
            } else {
                self.remains.push((index, line));
            }
        }
    }
}

/// Gives back what lines hold, in the safe order. What fails is logged and does not stop the rest.
fn take_down(ground: &mut Ground<'_>, store: Store, lines: &mut [(u32, &mut Line)]) {
    stop(ground, store, lines);
    for (index, line) in lines.iter_mut().filter(|(_, line)| line.held.irqfd) {
        let Some(gsi) = line.gsi else { continue };
        match ground.routes.router().detach(&line.eventfd, gsi) {
            Ok(()) => line.held.irqfd = false,
            Err(error) => ground.failed("detaching the irqfd", *index, &error),
        }
    }
    // Never the route of a GSI that still has an irqfd.
    let free = |line: &Line| line.held.route && !line.held.irqfd;
    let freed = lines.iter().filter(|(_, line)| free(line)).filter_map(|(_, line)| line.gsi);
    freed.for_each(|gsi| ground.routes.change(gsi, None));
    match ground.routes.apply() {
        Ok(()) => {
            lines.iter_mut().filter(|(_, line)| free(line)).for_each(|(_, line)| line.held.route = false);
        }
        Err(error) => {
            ground.failed("dropping the routes", lines.first().map_or(0, |(index, _)| *index), &error);
        }
    }
}

fn stop(ground: &mut Ground<'_>, store: Store, lines: &mut [(u32, &mut Line)]) {
    let mut started: Vec<&mut (u32, &mut Line)> =
        lines.iter_mut().filter(|(_, line)| line.held.interrupt).collect();
    for run in started.chunk_by_mut(|one, next| one.0 + 1 == next.0) {
        let Some(first) = run.first().map(|(index, _)| *index) else { continue };
        let count = u32::try_from(run.len()).unwrap_or(u32::MAX);
        let whole = ground.device.stop(store, first, count);
        let alone = whole.is_err() && count > 1 && store != Store::MSI;
        if let (true, Err(error)) = (alone, &whole) {
            ground.failed("stopping a run of interrupts", first, error);
        }
        for (index, line) in run {
            // One bad message leaves no other alive: after a failed run each goes by itself.
            let retried = alone.then(|| ground.device.stop(store, *index, 1));
            match retried.as_ref().unwrap_or(&whole) {
                Ok(()) => line.held.interrupt = false,
                Err(error) => ground.failed("stopping the interrupt", *index, error),
            }
        }
    }
}
