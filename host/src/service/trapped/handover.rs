//! Taking emulated lines down: for a disabled capability, for ENABLE, and for the end of the VM.

use super::Trapped;
use super::context::LineContext;
use crate::line::EntryLines;
use crate::service::vm::Vm;
use crate::trapped::ChangedMessages;
use crate::work::Cost;
use pvir_abi::DeviceId;
use std::io;

impl Vm {
    /// Takes down what a device has trapped, before the device is handed to the guest. The lines keep what their
    /// eventfds hold until [`Vm::forget_trapped`] or [`Vm::resume_trapped`].
    ///
    /// # Errors
    /// If a step failed. The device cannot be handed over then.
    pub(in crate::service) fn suspend_trapped(&mut self, id: DeviceId) -> io::Result<()> {
        let Some((trapped, mut context)) = self.trapped_of(id) else { return Ok(()) };
        let store = trapped.registers.store();
        trapped.sweep(&mut context, |_| true);
        trapped.bring_down(&mut context);
        let unprepared = trapped.unprepare(&mut context);
        let remains = context.lines.has_unreleased(|origin| (origin.device, origin.store) == (id, store));
        if !remains && trapped.entries.values().all(|entry| context.lines.are_down(&entry.lines)) {
            return unprepared;
        }
        Err(io::Error::other("not all of its trapped interrupts could be stopped"))
    }

    /// Forgets what was programmed into a device's emulated registers, after the device was handed to the guest (T2).
    pub(in crate::service) fn forget_trapped(&mut self, id: DeviceId) {
        if let Some((trapped, mut context)) = self.trapped_of(id) {
            trapped.forget(&mut context);
            trapped.held.clear();
        }
    }

    /// Brings the lines back into the state of the emulated registers, after ENABLE has failed (T3).
    pub(in crate::service) fn resume_trapped(&mut self, id: DeviceId) {
        if let Some((trapped, mut context)) = self.trapped_of(id) {
            trapped.reconcile(&mut context, ChangedMessages::All);
        }
    }

    /// Emulates the stores of a device again that was taken back from the guest (T4).
    pub(in crate::service) fn retrap(&mut self, id: DeviceId) {
        if let Some((trapped, mut context)) = self.trapped_of(id) {
            trapped.registers.clear();
            trapped.reconcile(&mut context, ChangedMessages::All);
        }
    }

    /// Sends nothing more of a device's emulated store, or acts on its registers again. A store that the guest programs
    /// itself has nothing to be stopped here.
    pub(in crate::service) fn hold_trapped_off(&mut self, id: DeviceId, held_off: bool) {
        let is_open = self.devices.get(&id).is_some_and(|attached| attached.open);
        if let Some((trapped, mut context)) = self.trapped_of(id) {
            trapped.held_off = held_off;
            if !is_open {
                trapped.reconcile(&mut context, ChangedMessages::All);
            }
        }
    }

    /// Takes down what a device's emulated store has in use, for a device that goes.
    pub(in crate::service) fn end_trapped_of(&mut self, id: DeviceId) {
        if let Some((trapped, mut context)) = self.trapped_of(id) {
            trapped.end(&mut context);
        }
    }

    /// Resets a device's emulated registers and takes their lines down: what they hold is dropped.
    pub(in crate::service) fn reset_trapped(&mut self, id: DeviceId) {
        if let Some((trapped, mut context)) = self.trapped_of(id) {
            trapped.registers.reset();
            trapped.end(&mut context);
        }
    }

    /// Resets every device's emulated registers and takes their lines down, for the end of the VM or its reset.
    pub(in crate::service) fn end_trapped(&mut self) {
        let ids: Vec<DeviceId> = self.devices.iter().rev().map(|(id, _)| *id).collect();
        for id in ids {
            if let Some((trapped, mut context)) = self.trapped_of(id) {
                trapped.registers.reset();
                trapped.held_off = false;
                trapped.end(&mut context);
            }
        }
    }
}

impl Trapped {
    /// Takes everything down and forgets it.
    pub(super) fn end(&mut self, context: &mut LineContext<'_>) {
        self.switch_off(context);
        self.held.clear();
    }

    /// Takes everything down, as long as the registers want nothing to be sent.
    pub(super) fn switch_off(&mut self, context: &mut LineContext<'_>) {
        self.sweep(context, |_| true);
        self.bring_down(context);
        // Its failure was logged.
        let _ = self.unprepare(context);
        self.forget(context);
        self.sweep(context, |_| true);
    }

    /// Tries again to take down what could not be taken down before, of the entries of this store that `which` picks.
    pub(super) fn sweep(&mut self, context: &mut LineContext<'_>, which: impl Fn(u32) -> bool) {
        let (id, store) = (context.id, self.registers.store());
        let errors = context.lines.sweep(&mut context.device, |origin| {
            (origin.device, origin.store) == (id, store) && which(origin.index)
        });
        context.all_failed(&errors);
    }

    fn bring_down(&mut self, context: &mut LineContext<'_>) {
        let mut entries: Vec<&mut EntryLines> = self.entries.values_mut().collect();
        let errors = context.lines.bring_down(&mut context.device, &mut entries);
        context.all_failed(&errors);
    }

    /// Ends what [`crate::device::Device::trap`] began. With it every interrupt of the store has ended: a device that
    /// fails at it is lost, and there is nothing left to be stopped.
    fn unprepare(&mut self, context: &mut LineContext<'_>) -> io::Result<()> {
        if !std::mem::take(&mut self.prepared) {
            return Ok(());
        }
        let (id, store) = (context.id, self.registers.store());
        context.lines.work().add(Cost::TRAP);
        let done = context.device.untrap(store);
        if let Err(error) = &done {
            context.failed("releasing the device", 0, error);
        }
        self.entries.values_mut().for_each(|entry| entry.lines.have_ended());
        context.lines.has_ended(|origin| (origin.device, origin.store) == (id, store));
        done
    }

    /// Gives GSIs and eventfds back. What could not be released is kept and tried again.
    fn forget(&mut self, context: &mut LineContext<'_>) {
        self.unfinished.clear();
        self.void.clear();
        let entries = std::mem::take(&mut self.entries).into_values();
        context.lines.settle(entries);
    }
}
