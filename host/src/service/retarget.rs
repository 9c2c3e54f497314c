//! RETARGET: new routes under old pairs. The device is not touched.

use super::entry::{Takes, abort_others, clear_answer, fill_answer};
use super::vm::Vm;
use crate::irte::{Irte, Target};
use pvir_abi::{EntryFlags, EntryRecord, EntryState, Handle, Status};
use std::collections::BTreeMap;

/// Where an IRTE is to go; `None` parks it.
type Move = (Handle, Option<Target>);
/// Those that failed, and how. They are where they were.
type Failures = BTreeMap<Handle, Status>;

pub(super) fn retarget(vm: &mut Vm, records: &mut [EntryRecord], whole: bool) {
    let mut targets = Vec::with_capacity(records.len());
    for record in records.iter_mut() {
        clear_answer(record, Takes::HandleAndRouting);
        record.status = match vm.judge(record, Takes::HandleAndRouting) {
            Ok(judged) => {
                targets.push((record.handle, judged.target));
                Status::OK
            }
            Err(status) => status,
        };
    }
    if abort_others(records, whole) {
        return;
    }
    keep_last(&mut targets);
    let undoable = targets.iter().filter(|_| whole);
    let before: Vec<Move> =
        undoable.filter_map(|&(handle, _)| Some((handle, vm.irtes.get(handle)?.target))).collect();
    let failures = vm.go(&targets);
    for record in records.iter_mut() {
        if let Some(status) = failures.get(&record.handle).filter(|_| record.status == Status::OK) {
            record.status = *status;
        }
    }
    if abort_others(records, whole) {
        vm.go(&before);
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
    fn go(&mut self, targets: &[Move]) -> Failures {
        let mut failures = Failures::new();
        self.park(targets, &mut failures);
        self.reroute(targets, &mut failures);
        self.unpark(targets, &mut failures);
        failures
    }

    fn park(&mut self, targets: &[Move], failures: &mut Failures) {
        for &(handle, _) in targets.iter().filter(|(_, target)| target.is_none()) {
            let Some(irte) = self.irtes.get_mut(handle) else { continue };
            if let Err(error) = irte.detach(self.routes.router()) {
                let origin = irte.origin;
                if irte.awaits_irqfd() {
                    // Its other messages stay where they were, too. The first failure is the one to tell of.
                    let _ = irte.attach(self.routes.router());
                }
                let status = self.failed("detaching the irqfd", &origin, Status::HOST_ERROR, &error);
                failures.insert(handle, status);
            }
        }
    }

    fn reroute(&mut self, targets: &[Move], failures: &mut Failures) {
        for (handle, target) in targets.iter().filter(|(handle, _)| !failures.contains_key(handle)) {
            let Some(irte) = self.irtes.get(*handle) else { continue };
            self.routes.change_all(irte.routes_to(*target));
        }
        let result = self.routes.apply();
        for &(handle, target) in targets {
            if failures.contains_key(&handle) {
                continue;
            }
            let Some(irte) = self.irtes.get_mut(handle) else { continue };
            let Err(error) = &result else {
                irte.target = target;
                irte.held.route = target.is_some();
                continue;
            };
            let origin = irte.origin;
            // What was parked a moment ago goes back to its old route.
            if irte.awaits_irqfd() {
                // The first failure is the one to tell of.
                let _ = irte.attach(self.routes.router());
            }
            failures.insert(handle, self.failed("routing", &origin, Status::HOST_ERROR, error));
        }
    }

    fn unpark(&mut self, targets: &[Move], failures: &mut Failures) {
        let mut unrouted = Vec::new();
        for &(handle, _) in targets {
            let Some(irte) = self.irtes.get_mut(handle).filter(|irte| irte.awaits_irqfd()) else { continue };
            if let Err(error) = irte.attach(self.routes.router()) {
                let origin = irte.origin;
                unrouted.push(handle);
                let status = self.failed("attaching the irqfd", &origin, Status::HOST_ERROR, &error);
                failures.insert(handle, status);
            }
        }
        // Parked they were, parked they stay. A route is never dropped under an irqfd that would not come off again.
        let bare = |irte: &&Irte| !irte.is_attached();
        for irte in unrouted.iter().filter_map(|handle| self.irtes.get(*handle)).filter(bare) {
            self.routes.change_all(irte.routes_to(None));
        }
        let dropped = self.routes.apply().is_ok();
        for handle in unrouted {
            if let Some(irte) = self.irtes.get_mut(handle) {
                irte.target = None;
                irte.held.route = irte.is_attached() || !dropped;
            }
        }
    }
}
