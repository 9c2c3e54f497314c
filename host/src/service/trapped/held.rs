//! Interrupts that are held for messages of an emulated store which have no line that could hold them: what was in
//! use when the device was handed over, or taken back.

use super::Trapped;
use super::context::LineContext;
use super::reconcile::Plan;
use crate::line::Line;
use crate::service::saved::StoreMessage;
use crate::service::vm::Vm;
use crate::trapped::ChangedMessages;
use crate::work::Cost;
use pvir_abi::{DeviceId, Store};

impl Vm {
    /// The messages of a device's emulated store that are in use: those whose interrupt is started, since what is
    /// raised while it is stopped may be lost, and those that are pending.
    pub(in crate::service) fn trapped_in_use(&mut self, id: DeviceId) -> Vec<StoreMessage> {
        let Some((trapped, mut context)) = self.trapped_of(id) else { return Vec::new() };
        let store = trapped.registers.store();
        trapped.in_use(&mut context).into_iter().map(|message| (store, message)).collect()
    }

    /// Holds an interrupt for each of these messages of a device's emulated store: it is pending, and sent when the
    /// registers say so.
    pub(in crate::service) fn hold_trapped(&mut self, id: DeviceId, messages: &[StoreMessage]) {
        let Some((trapped, mut context)) = self.trapped_of(id) else { return };
        let store = trapped.registers.store();
        trapped.held.extend(messages.iter().filter(|(of, _)| *of == store).map(|(_, message)| *message));
        if !trapped.held.is_empty() {
            trapped.reconcile(&mut context, ChangedMessages::All);
        }
    }
}

impl Trapped {
    fn in_use(&self, context: &mut LineContext<'_>) -> Vec<u32> {
        let store = self.registers.store();
        let is_in_use = |message: &u32| match self.line(*message) {
            Some(line) if line.is_started() => !self.void.contains(message),
            _ if self.held.contains(message) => true,
            _ if !self.prepared => false,
            _ => {
                context.lines.work().add(Cost::POLL);
                context.device.pending(store, *message)
            }
        };
        (0..self.registers.messages()).filter(is_in_use).collect()
    }

    /// Puts what is held into the lines of the messages at hand, as far as they can deliver it. A message that MSI
    /// has no more is delivered as the first one.
    pub(super) fn deliver_held(&mut self, plan: &Plan) {
        if self.held.is_empty() {
            return;
        }
        let messages = self.registers.messages();
        let is_msi = self.registers.store() == Store::MSI;
        let beyond = is_msi.then_some(self.held.range(messages..)).into_iter().flatten();
        let beyond: Vec<u32> = beyond.copied().collect();
        if !beyond.is_empty() {
            beyond.iter().for_each(|message| _ = self.held.remove(message));
            self.held.insert(0);
        }
        for message in plan.keys() {
            let is_started = self.line(*message).is_some_and(Line::is_started);
            if !is_started || !self.held.remove(message) || self.void.contains(message) {
                continue;
            }
            let index = if is_msi { 0 } else { *message };
            let place = if is_msi { *message as usize } else { 0 };
            let lines = self.entries.get_mut(&index).map(|entry| &mut entry.lines);
            lines.and_then(|lines| lines.iter_mut().nth(place)).into_iter().for_each(Line::hold);
        }
    }
}
