//! Emulated stores in a snapshot: their registers, and what the host holds for their messages.

use super::Trapped;
use crate::device::Origin;
use crate::line::{EntryLines, Line, Lines};
use crate::service::vm::Vm;
use crate::trapped::{ChangedMessages, EmulatedRegisters, EmulatedStore};
use pvir_abi::{DeviceId, Store};
use std::io;

impl Trapped {
    pub(in crate::service) fn store(&self) -> Store {
        self.registers.store()
    }

    pub(in crate::service) fn registers(&self) -> &EmulatedStore {
        &self.registers
    }

    /// Whether nothing is made of its registers.
    pub(in crate::service) fn is_new(&self) -> bool {
        self.entries.is_empty() && self.held.is_empty() && !self.prepared
    }

    /// The messages for which an interrupt is held: index of the entry, number of the message. What the device itself
    /// holds is not among them.
    pub(in crate::service) fn held(&self) -> impl Iterator<Item = (u32, u8)> {
        let lines = self.entries.iter().flat_map(|(index, entry)| {
            let numbered = (0_u8..).zip(entry.lines.iter());
            numbered.map(move |(message, line)| (*index, message, line))
        });
        let is_void = |index: u32, message: u8| self.void.contains(&(index + u32::from(message)));
        let held =
            lines.filter(move |(index, message, line)| !is_void(*index, *message) && line.holds_interrupt());
        let in_lines = held.map(|(index, message, _)| (index, message));
        let is_msi = self.registers.store() == Store::MSI;
        let place = move |message: &u32| match is_msi {
            true => (0, u8::try_from(*message).unwrap_or(u8::MAX)),
            false => (*message, 0),
        };
        in_lines.chain(self.held.iter().map(place))
    }

    /// Puts held interrupts into lines of their own, as if the messages had been in use when they were raised.
    fn hold(&mut self, device: DeviceId, held: &[(Origin, u8)]) -> io::Result<()> {
        let store = self.registers.store();
        let count = if store == Store::MSI { self.registers.messages() } else { 1 };
        if !self.registers.is_enabled() {
            // It has no lines: what is held was in use when the device was given back.
            self.held.extend(held.iter().map(|(origin, message)| origin.index + u32::from(*message)));
            return Ok(());
        }
        for (origin, message) in held {
            let index = if store == Store::MSI { 0 } else { origin.index };
            if let std::collections::btree_map::Entry::Vacant(vacant) = self.entries.entry(index) {
                let lines = (0..count).map(|_| Line::new()).collect::<io::Result<Vec<_>>>()?;
                let origin = Origin { device, store, index };
                vacant.insert(EntryLines { origin, lines: Lines::Several(lines) });
            }
            let lines = self.entries.get_mut(&index).map(|entry| &mut entry.lines);
            lines.and_then(|lines| lines.iter_mut().nth((*message).into())).into_iter().for_each(Line::hold);
        }
        Ok(())
    }
}

impl Vm {
    /// Detaches the irqfds of all emulated stores.
    ///
    /// # Errors
    /// The entry and the errno of the first `KVM_IRQFD` that failed.
    pub(in crate::service) fn hold_trapped_back(&mut self) -> Result<(), (Origin, io::Error)> {
        let ids: Vec<DeviceId> = self.devices.iter().map(|(id, _)| *id).collect();
        for id in ids {
            let Some((trapped, context)) = self.trapped_of(id) else { continue };
            for entry in trapped.entries.values_mut() {
                let detached = context.lines.detach_all(&mut entry.lines);
                detached.map_err(|error| (entry.origin, error))?;
            }
        }
        Ok(())
    }

    /// Brings all emulated stores back into the state of their registers.
    pub(in crate::service) fn resume_all_trapped(&mut self) {
        let open = |id: &DeviceId| self.devices.get(id).is_none_or(|attached| attached.open);
        let ids: Vec<DeviceId> = self.devices.iter().map(|(id, _)| *id).filter(|id| !open(id)).collect();
        ids.into_iter().for_each(|id| self.resume_trapped(id));
    }

    /// Sets the registers of an emulated store that [`EmulatedStore::takes`] them. Unless the guest programs the device,
    /// the store acts from then on, and what was held is delivered or is pending.
    pub(in crate::service) fn restore_trapped(
        &mut self,
        id: DeviceId,
        registers: &EmulatedRegisters,
        cut_off: bool,
        held: &[(Origin, u8)],
    ) {
        let open = self.devices.get(&id).is_none_or(|attached| attached.open);
        let Some((trapped, mut context)) = self.trapped_of(id) else { return };
        if !trapped.registers.restore(registers) {
            return context.failed("restoring the registers", 0, &"they are of another store");
        }
        trapped.held_off = cut_off;
        if open {
            return;
        }
        if let Err(error) = trapped.hold(id, held) {
            context.failed("holding an interrupt", 0, &error);
        }
        trapped.reconcile(&mut context, ChangedMessages::All);
    }
}
