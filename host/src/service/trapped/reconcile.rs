//! Bringing the lines of an emulated store into the state that its registers ask for.
//!
//! The order is: route, then the device's interrupt, then the irqfd, which delivers what the device has signalled
//! meanwhile. So a message without an interrupt, for want of a vector of the host, costs no irqfd. Masked messages are
//! detached first, so that a message that is masked, changed and unmasked is never sent as it was before the change.
//!
//! Once the host has no more of something, an access asks for no more of it.

use super::Trapped;
use super::context::LineContext;
use crate::device::Origin;
use crate::line::{EntryLines, Line, LineOwner, Lines, is_used_up};
use crate::message::Message;
use crate::trapped::{ChangedMessages, DesiredState};
use crate::work::Cost;
use pvir_abi::Store;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The desired state of each message at hand.
pub(super) type Plan = BTreeMap<u32, DesiredState>;

/// The message of an entry that is sent.
fn sent(desired: DesiredState) -> Option<Message> {
    match desired {
        DesiredState::On(message) => Some(message),
        _ => None,
    }
}

impl Trapped {
    /// Brings the lines in line with the emulated registers, of which an access may have changed some. What failed for
    /// other messages before is tried again only if something of the kernel's has become free since.
    pub(super) fn reconcile(&mut self, context: &mut LineContext<'_>, changed: ChangedMessages) {
        let plan = self.plan(context, changed);
        let (Some((first, _)), Some((last, _))) = (plan.first_key_value(), plan.last_key_value()) else {
            return;
        };
        if self.held_off || !self.registers.is_enabled() {
            return self.switch_off(context);
        }
        let store = self.registers.store();
        // Several messages of MSI come and go at once: another number of them is another interrupt.
        let count = self.registers.messages();
        if store == Store::MSI && self.entries.values().any(|entry| entry.lines.count() != count) {
            self.switch_off(context);
        }
        let span = if store == Store::MSI { 0..=0 } else { *first..=*last };
        self.sweep(context, |index| plan.contains_key(&index) || store == Store::MSI);
        self.unfinished.extend(plan.keys());
        if self.prepare(context) {
            self.hold_back(context, &plan, span.clone());
            self.make_lines(context, &plan);
            self.route(context, &plan, span.clone());
            self.start(context, &plan, span.clone());
            self.deliver_held(&plan);
            self.attach(context, &plan, span);
            let done = |(message, desired): (&u32, &DesiredState)| {
                self.is_done(context, *message, *desired).then_some(*message)
            };
            let done: Vec<u32> = plan.iter().filter_map(done).collect();
            done.iter().for_each(|message| _ = self.unfinished.remove(message));
        }
        self.freed = context.lines.freed();
    }

    fn is_done(&self, context: &LineContext<'_>, message: u32, desired: DesiredState) -> bool {
        match (sent(desired), self.line(message)) {
            (Some(to), Some(line)) => {
                line.is_started() && line.is_attached() && context.lines.message(line) == Some(to)
            }
            (None, Some(line)) => line.is_started() && !line.is_attached(),
            (_, None) => matches!(desired, DesiredState::Off | DesiredState::Masked),
        }
    }

    fn plan(&mut self, context: &LineContext<'_>, changed: ChangedMessages) -> Plan {
        let mut plan = Plan::new();
        let registers = &self.registers;
        let mut add = |message| _ = plan.insert(message, registers.desired_state(message));
        match changed {
            ChangedMessages::Nothing => return plan,
            ChangedMessages::One(message) => add(message),
            ChangedMessages::All => (0..registers.messages()).for_each(&mut add),
        }
        // As many as there is room for, in turn: what an access can cost stays bounded by what was freed.
        let freed = usize::try_from(context.lines.freed().saturating_sub(self.freed)).unwrap_or(usize::MAX);
        let others = self.unfinished.range(self.next_retry..).chain(self.unfinished.range(..self.next_retry));
        for message in others.copied().take(freed).collect::<Vec<_>>() {
            self.next_retry = message + 1;
            add(message);
        }
        plan
    }

    fn prepare(&mut self, context: &mut LineContext<'_>) -> bool {
        if !self.prepared {
            context.lines.work().add(Cost::TRAP);
            match context.device.trap(self.registers.store()) {
                Ok(()) => self.prepared = true,
                Err(error) => context.failed("preparing the device", 0, &error),
            }
        }
        self.prepared
    }

    /// Detaches what is not sent any more, or is sent nowhere.
    fn hold_back(&mut self, context: &mut LineContext<'_>, plan: &Plan, span: RangeInclusive<u32>) {
        for (message, desired, line) in planned(&mut self.entries, plan, span) {
            if sent(desired).is_none() {
                detach(context, message, line);
            }
            if matches!(desired, DesiredState::Void(_)) {
                self.void.insert(message);
            } else if self.void.remove(&message) {
                line.drain();
            }
        }
    }

    /// Makes the lines of each entry that is used for the first time: of MSI-X of those that are unmasked, because the
    /// device itself holds what it raises before that; of MSI of all.
    fn make_lines(&mut self, context: &LineContext<'_>, plan: &Plan) {
        let store = self.registers.store();
        for (&message, &desired) in plan {
            if let DesiredState::Void(reason) = desired {
                // A guest may do so at any time: a notice.
                let id = context.id;
                context.log.info(|| format!("message {message} of {id}: no interrupt comes of it: {reason}"));
                self.void.insert(message);
            }
            let used = match desired {
                DesiredState::Off => false,
                DesiredState::Masked => store == Store::MSI,
                DesiredState::On(_) | DesiredState::Void(_) => true,
            };
            let (index, count) =
                if store == Store::MSI { (0, self.registers.messages()) } else { (message, 1) };
            if !used || self.entries.contains_key(&index) {
                continue;
            }
            match (0..count).map(|_| Line::new()).collect::<Result<Vec<_>, _>>() {
                Ok(lines) => {
                    let lines = Lines::Several(lines);
                    let origin = Origin { device: context.id, store, index };
                    self.entries.insert(index, EntryLines { origin, lines });
                }
                Err(error) => {
                    context.failed("making the eventfd", message, &error);
                    if is_used_up(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// One `KVM_SET_GSI_ROUTING` for all that changed. Under a live irqfd that is the change of a message: what is raised
    /// goes to the old place or to the new.
    fn route(&mut self, context: &mut LineContext<'_>, plan: &Plan, span: RangeInclusive<u32>) {
        let mut staged = Vec::new();
        for (number, desired, line) in planned(&mut self.entries, plan, span.clone()) {
            let to = sent(desired).filter(|to| context.lines.message(line) != Some(*to));
            let Some(message) = to else { continue };
            match context.lines.give_gsi(line) {
                Ok(true) => {
                    if line.has_queued() {
                        // What KVM has queued of it may have read the old message, and is waited for.
                        detach(context, number, line);
                    }
                    context.lines.stage(line, Some(message));
                    staged.push(number);
                }
                Ok(false) => context.failed("taking a GSI", number, &"none is left"),
                Err(error) => context.failed("taking a GSI", number, &error),
            }
        }
        let Err(error) = context.lines.apply() else { return };
        for (number, _, line) in planned(&mut self.entries, plan, span) {
            if staged.binary_search(&number).is_ok() {
                context.failed("routing", number, &error);
                // Rather held than sent to where it was sent before.
                detach(context, number, line);
            }
        }
    }

    /// Attaches the eventfds of the messages that are sent, as far as there are irqfds. Interrupts that they hold are
    /// delivered by it.
    fn attach(&mut self, context: &mut LineContext<'_>, plan: &Plan, span: RangeInclusive<u32>) {
        for (message, desired, line) in planned(&mut self.entries, plan, span) {
            let to = sent(desired).filter(|_| line.is_started());
            if to.is_none() || context.lines.message(line) != to {
                continue;
            }
            if let Err(error) = context.lines.attach(line) {
                context.failed("attaching the irqfd", message, &error);
                if is_used_up(&error) {
                    return;
                }
            }
        }
    }

    /// Starts the interrupts of the entries at hand that are not: as many as there are, since the host may have vectors
    /// for some of them.
    fn start(&mut self, context: &mut LineContext<'_>, plan: &Plan, span: RangeInclusive<u32>) {
        let is_idle = |(index, entry): &(&u32, &mut EntryLines)| {
            !entry.lines.is_started() && (plan.contains_key(index) || entry.origin.store == Store::MSI)
        };
        let idle: Vec<_> = self.entries.range_mut(span).filter(is_idle).map(|(_, entry)| entry).collect();
        let mut failed = Vec::new();
        context
            .lines
            .start(&mut context.device, idle, |entry, _, error| failed.push((entry.origin().index, error)));
        for (index, error) in failed {
            if error.raw_os_error() == Some(libc::ENOSPC) {
                let why = format_args!("{error}: the host has no interrupt vector left");
                context.failed("starting the interrupt", index, &why);
            } else {
                context.failed("starting the interrupt", index, &error);
            }
        }
    }
}

/// The lines of the messages of a plan, in their order.
fn planned<'a>(
    entries: &'a mut BTreeMap<u32, EntryLines>,
    plan: &'a Plan,
    span: RangeInclusive<u32>,
) -> impl Iterator<Item = (u32, DesiredState, &'a mut Line)> {
    let of_entry = |(index, entry): (&u32, &'a mut EntryLines)| (*index..).zip(entry.lines.iter_mut());
    let lines = entries.range_mut(span).flat_map(of_entry);
    lines.filter_map(|(message, line)| plan.get(&message).map(|desired| (message, *desired, line)))
}

/// An irqfd that cannot be detached sends on: it is tried again with the next access to the message.
fn detach(context: &mut LineContext<'_>, message: u32, line: &mut Line) {
    if let Err(error) = context.lines.detach(line) {
        context.failed("detaching the irqfd", message, &error);
    }
}
