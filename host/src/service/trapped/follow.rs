//! Making real what the emulated registers say.
//!
//! The order is that of MAP: route, then irqfd, then the device's interrupt. What is masked is detached first, so that a
//! message that is masked, changed and unmasked is never sent as it was before.

use super::line::Line;
use super::{Ground, Trapped};
use crate::message::Message;
use crate::service::vm::{Attached, Vm};
use crate::trapped::{DesiredState, Touched};
use pvir_abi::{DeviceId, Store};
use std::collections::BTreeMap;
use vmm_sys_util::eventfd::EventFd;

/// What is wanted of the messages at hand.
type Plan = BTreeMap<u32, DesiredState>;

impl Vm {
    /// Brings a device's lines in line with its emulated registers, of which an access may have changed some.
    pub(super) fn follow(&mut self, id: DeviceId, touched: Touched) {
        if let Some((trapped, mut ground)) = self.trapped_of(id) {
            trapped.follow(&mut ground, touched);
        }
    }

    /// The emulated store of a device, and what its lines are made with.
    pub(super) fn trapped_of(&mut self, id: DeviceId) -> Option<(&mut Trapped, Ground<'_>)> {
        let Self { devices, routes, gsis, log, .. } = self;
        let Attached { device, trapped, .. } = devices.get_mut(&id)?;
        Some((trapped.as_mut()?, Ground { id, device: &mut **device, routes, gsis, log }))
    }
}

/// The message of an entry that is sent.
fn sent(wanted: DesiredState) -> Option<Message> {
    match wanted {
        DesiredState::On(message) => Some(message),
        _ => None,
    }
}

impl Trapped {
    pub(super) fn follow(&mut self, ground: &mut Ground<'_>, touched: Touched) {
        let plan = self.plan(touched);
        if plan.is_empty() {
            return;
        }
        if !self.emulation.is_enabled() {
            return self.end(ground);
        }
        // Several messages of MSI come and go at once: another number of them is another interrupt.
        let other_number = self.lines.len() != self.emulation.messages() as usize;
        if self.emulation.store() == Store::MSI && !self.lines.is_empty() && other_number {
            self.end(ground);
        }
        self.sweep(ground);
        self.unfinished.extend(plan.keys());
        if !self.prepare(ground) {
            return;
        }
        self.hold_back(ground, &plan);
        self.make_lines(ground, &plan);
        self.route(ground, &plan);
        self.attach(ground, &plan);
        self.start(ground);
        for (index, wanted) in &plan {
            if self.is_done(*index, *wanted) {
                self.unfinished.remove(index);
            }
        }
    }

    fn plan(&self, touched: Touched) -> Plan {
        let mut indices = self.unfinished.clone();
        match touched {
            Touched::Nothing => return Plan::new(),
            Touched::One(index) => indices.extend([index]),
            Touched::All => indices.extend(0..self.emulation.messages()),
        }
        indices.into_iter().map(|index| (index, self.emulation.desired_state(index))).collect()
    }

    fn prepare(&mut self, ground: &mut Ground<'_>) -> bool {
        if !self.prepared {
            match ground.device.trap(self.emulation.store()) {
                Ok(()) => self.prepared = true,
                Err(error) => ground.failed("preparing the device", 0, &error),
            }
        }
        self.prepared
    }

    /// Detaches what is not sent any more, or is sent nowhere.
    fn hold_back(&mut self, ground: &mut Ground<'_>, plan: &Plan) {
        for (&index, &wanted) in plan {
            let Some(line) = self.lines.get_mut(&index) else { continue };
            if sent(wanted).is_none() && line.held.irqfd {
                detach(ground, index, line);
            }
            let void = matches!(wanted, DesiredState::Void(_));
            if line.void && !void {
                line.drain();
            }
            line.void = void;
        }
    }

    /// Makes a line for each message that is used for the first time: of MSI-X for those that are unmasked, because the
    /// device itself holds what it raises before that; of MSI for all.
    fn make_lines(&mut self, ground: &mut Ground<'_>, plan: &Plan) {
        for (&index, &wanted) in plan {
            if let DesiredState::Void(reason) = wanted {
                // A guest may do so at any time: a notice.
                ground
                    .log
                    .info(|| format!("message {index} of {}: no interrupt comes of it: {reason}", ground.id));
            }
            let used = match wanted {
                DesiredState::Off => false,
                DesiredState::Masked => self.emulation.store() == Store::MSI,
                DesiredState::On(_) | DesiredState::Void(_) => true,
            };
            if !used || self.lines.contains_key(&index) {
                continue;
            }
            match Line::new() {
                Ok(line) => {
                    let line = Line { void: matches!(wanted, DesiredState::Void(_)), ..line };
                    self.lines.insert(index, line);
                }
                Err(error) => ground.failed("making the eventfd", index, &error),
            }
        }
    }

    /// One `KVM_SET_GSI_ROUTING` for all that changed. Under a live irqfd that is the change of a message: what is raised
    /// goes to the old place or to the new.
    fn route(&mut self, ground: &mut Ground<'_>, plan: &Plan) {
        let mut changes: Vec<(u32, u32, Message)> = Vec::new();
        for (&index, &wanted) in plan {
            let Some((message, line)) = sent(wanted).zip(self.lines.get_mut(&index)) else { continue };
            if line.is_routed_to(message) {
                continue;
            }
            line.gsi = line.gsi.or_else(|| ground.gsis.take());
            match line.gsi {
                Some(gsi) => changes.push((index, gsi, message)),
                None => ground.failed("taking a GSI", index, &"none is left"),
            }
        }
        changes.iter().for_each(|&(_, gsi, message)| ground.routes.change(gsi, Some(message)));
        let result = ground.routes.apply();
        for (index, _, message) in changes {
            let Some(line) = self.lines.get_mut(&index) else { continue };
            match &result {
                Ok(()) => {
                    line.held.route = true;
                    line.message = Some(message);
                }
                Err(error) => {
                    ground.failed("routing", index, error);
                    // Rather held than sent to where it was sent before.
                    if line.held.irqfd {
                        detach(ground, index, line);
                    }
                }
            }
        }
    }

    /// What was held is delivered by it.
    fn attach(&mut self, ground: &mut Ground<'_>, plan: &Plan) {
        for (&index, &wanted) in plan {
            let Some((message, line)) = sent(wanted).zip(self.lines.get_mut(&index)) else { continue };
            let Some(gsi) = line.gsi.filter(|_| line.is_routed_to(message) && !line.held.irqfd) else {
                continue;
            };
            match ground.routes.router().attach(&line.eventfd, gsi) {
                Ok(()) => line.held.irqfd = true,
                Err(error) => ground.failed("attaching the irqfd", index, &error),
            }
        }
    }

    /// Starts every line that is not, by runs of consecutive ones.
    fn start(&mut self, ground: &mut Ground<'_>) {
        let store = self.emulation.store();
        let idle: Vec<u32> =
            self.lines.iter().filter(|(_, line)| !line.is_started()).map(|(i, _)| *i).collect();
        for run in idle.chunk_by(|one, next| one + 1 == *next) {
            if self.start_run(ground, run).is_ok() || store == Store::MSI {
                continue;
            }
            // As many as there are: the host may have vectors for some of the run.
            for index in run {
                // Its failure was logged.
                let _ = self.start_run(ground, &[*index]);
            }
        }
    }

    fn start_run(&mut self, ground: &mut Ground<'_>, run: &[u32]) -> std::io::Result<()> {
        let Some(&first) = run.first() else { return Ok(()) };
        let eventfds: Vec<&EventFd> =
            run.iter().filter_map(|index| self.lines.get(index)).map(|line| &line.eventfd).collect();
        let started = ground.device.start(self.emulation.store(), first, &eventfds);
        if let Err(error) = &started {
            ground.failed("starting the interrupt", first, error);
        }
        for index in run {
            if let Some(line) = self.lines.get_mut(index) {
                line.held.interrupt = started.is_ok();
            }
        }
        started
    }

    fn is_done(&self, index: u32, wanted: DesiredState) -> bool {
        match (wanted, self.lines.get(&index)) {
            (DesiredState::On(message), Some(line)) => {
                line.is_started() && line.held.irqfd && line.is_routed_to(message)
            }
            (_, Some(line)) => line.is_started() && !line.held.irqfd,
            (DesiredState::On(_) | DesiredState::Void(_), None) => false,
            (DesiredState::Off | DesiredState::Masked, None) => true,
        }
    }
}

/// An irqfd that does not come off sends on: it is tried again with the next access.
fn detach(ground: &mut Ground<'_>, index: u32, line: &mut Line) {
    let Some(gsi) = line.gsi else { return };
    match ground.routes.router().detach(&line.eventfd, gsi) {
        Ok(()) => line.held.irqfd = false,
        Err(error) => ground.failed("detaching the irqfd", index, &error),
    }
}
