//! RETARGET: new routes under unchanged pairs. The device is not called.

use super::record::{BatchMode, InputFields, abort_others, clear_answer, fill_answer};
use super::vm::Vm;
use crate::irte::{Irte, Target};
use crate::line::{Line, LineTable, Step};
use pvir_abi::{EntryFlags, EntryRecord, EntryState, Handle, Status};
use std::collections::BTreeMap;

/// An IRTE and its new target; `None` parks it.
type Move = (Handle, Option<Target>);
/// The IRTEs that failed, and their statuses. They keep their old targets.
type Failures = BTreeMap<Handle, Status>;

pub(super) fn retarget(vm: &mut Vm, records: &mut [EntryRecord], mode: BatchMode) {
    let mut targets = Vec::with_capacity(records.len());
    for record in records.iter_mut() {
        clear_answer(record, InputFields::HandleAndRouting);
        record.status = match vm.validate(record, InputFields::HandleAndRouting) {
            Ok(valid) => {
                targets.push((record.handle, valid.target));
                Status::OK
            }
            Err(status) => status,
        };
    }
    if abort_others(records, mode) {
        return;
    }
    keep_last(&mut targets);
    let undoable = targets.iter().filter(|_| mode == BatchMode::AllOrNothing);
    let before: Vec<Move> =
        undoable.filter_map(|&(handle, _)| Some((handle, vm.irtes.get(handle)?.target))).collect();
    let failures = vm.move_all(&targets);
    for record in records.iter_mut().filter(|_| !failures.is_empty()) {
        if let Some(status) = failures.get(&record.handle).filter(|_| record.status == Status::OK) {
            record.status = *status;
        }
    }
    if abort_others(records, mode) {
        vm.move_all(&before);
        return;
    }
    for record in records.iter_mut().filter(|record| record.status == Status::OK) {
        match vm.irtes.get(record.handle) {
            Some(irte) => {
                fill_answer(record, record.handle, irte, EntryState::empty());
                // Of this record, also if a later one of the same call moved the entry on.
                let mut state = EntryState::empty();
                state.set(EntryState::PARKED, record.flags & EntryFlags::PARKED.bits() != 0);
                record.state = state.bits();
            }
            None => record.status = Status::HOST_ERROR,
        }
    }
}

/// Orders targets by handle. The last one for a handle wins, as if they came one after the other.
fn keep_last(targets: &mut Vec<Move>) {
    let ascending = targets.is_sorted_by(|(one, _), (next, _)| one < next);
    if !ascending {
        targets.sort_by_key(|(handle, _)| *handle);
        targets.dedup_by(|(next, target), (kept, last)| {
            let same = next == kept;
            if same {
                *last = *target;
            }
            same
        });
    }
}

impl Vm {
    /// Brings each IRTE to its target: those that park lose their irqfd, then one `KVM_SET_GSI_ROUTING` for all,
    /// then those that leave the parked state get their irqfd, which delivers what was raised meanwhile.
    ///
    /// An IRTE that has left the parked state, and is moved on while KVM may have queued what it held, loses its irqfd for
    /// the time of the call: that waits for what may have read the old route (R2).
    fn move_all(&mut self, targets: &[Move]) -> Failures {
        let mut failures = Failures::new();
        let moving_on = self.take_off(targets, &mut failures);
        self.reroute(targets, &mut failures);
        self.unpark(targets, &moving_on, &mut failures);
        failures
    }

    /// Answers with the IRTEs that are not parked, and were where they were.
    fn take_off(&mut self, targets: &[Move], failures: &mut Failures) -> BTreeMap<Handle, Target> {
        let mut moving_on = BTreeMap::new();
        for &(handle, target) in targets {
            let Some(irte) = self.irtes.get_mut(handle) else { continue };
            let moves_on = target != irte.target && irte.lines.iter().any(Line::has_queued);
            if target.is_some() && !moves_on {
                continue;
            }
            if let Err(error) = self.lines.detach_all(&mut irte.lines) {
                back_to_old_route(&mut self.lines, irte);
                let origin = irte.origin;
                failures
                    .insert(handle, self.failed(Step::Detach.name(), &origin, Status::HOST_ERROR, &error));
            } else if let Some(old) = irte.target.filter(|_| moves_on && target.is_some()) {
                moving_on.insert(handle, old);
            }
        }
        moving_on
    }

    fn reroute(&mut self, targets: &[Move], failures: &mut Failures) {
        for (handle, target) in targets.iter().filter(|(handle, _)| !failures.contains_key(handle)) {
            let Some(irte) = self.irtes.get_mut(*handle) else { continue };
            for (number, line) in (0..).zip(irte.lines.iter_mut()) {
                self.lines.stage(line, target.map(|target| target.message(number)));
            }
        }
        let result = self.lines.apply();
        for &(handle, target) in targets {
            if failures.contains_key(&handle) {
                continue;
            }
            let Some(irte) = self.irtes.get_mut(handle) else { continue };
            let Err(error) = &result else {
                irte.target = target;
                continue;
            };
            // What was parked a moment ago goes back to its old route.
            back_to_old_route(&mut self.lines, irte);
            let origin = irte.origin;
            failures.insert(handle, self.failed(Step::Route.name(), &origin, Status::HOST_ERROR, error));
        }
    }

    fn unpark(&mut self, targets: &[Move], moving_on: &BTreeMap<Handle, Target>, failures: &mut Failures) {
        let mut unrouted = false;
        for &(handle, _) in targets {
            let Self { irtes, lines, .. } = self;
            let Some(irte) = irtes.get_mut(handle).filter(|irte| awaits_irqfd(lines, irte)) else { continue };
            let Err(error) = lines.attach_all(&mut irte.lines) else { continue };
            let origin = irte.origin;
            if !moving_on.get(&handle).is_some_and(|old| stays_at(lines, irte, *old)) {
                // Parked it was, parked it stays. A route is never dropped under an irqfd that could not be detached
                // again.
                irte.target = None;
                unrouted = true;
                if !irte.lines.is_attached() {
                    irte.lines.iter_mut().for_each(|line| lines.stage(line, None));
                }
            }
            failures.insert(handle, self.failed(Step::Attach.name(), &origin, Status::HOST_ERROR, &error));
        }
        if unrouted {
            // A route that stays is harmless without an irqfd, and goes with the entry.
            let _ = self.lines.apply();
        }
    }
}

/// Whether only irqfds are missing. A parked entry may have routes that could not be dropped; it does not go there.
fn awaits_irqfd(lines: &LineTable, irte: &Irte) -> bool {
    irte.target.is_some() && lines.await_irqfd(&irte.lines)
}

/// Puts an IRTE that was taken off for a move back to where it was (R6), and answers whether it is there.
fn stays_at(lines: &mut LineTable, irte: &mut Irte, old: Target) -> bool {
    for (number, line) in (0..).zip(irte.lines.iter_mut()) {
        lines.stage(line, Some(old.message(number)));
    }
    irte.target = Some(old);
    lines.apply().is_ok() && lines.attach_all(&mut irte.lines).is_ok()
}

/// All messages of an IRTE stay where they were, if one of them must. The first failure is the one to report.
fn back_to_old_route(lines: &mut LineTable, irte: &mut Irte) {
    if awaits_irqfd(lines, irte) {
        let _ = lines.attach_all(&mut irte.lines);
    }
}
