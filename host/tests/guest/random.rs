//! Random work of a guest kernel, against the model: without faults of the host, and with some.

use crate::kernel::{GuestKernel, Stores, is_stale};
use crate::model::{DesiredIrte, Model, Slot};
use crate::steps::{InjectedFault, Sessions, Step, fault, sessions};
use crate::test_vm::{TestVm, config};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use pvir_guest::abi::{Status, Store};
use pvir_guest::{BatchMode, Target};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// A session under way.
struct Run<'s> {
    vm: &'s TestVm,
    kernel: GuestKernel<'s>,
    model: Model,
    /// Whether the host may still have what it could not take down.
    unfinished: bool,
    tally: &'s Tally,
}

/// What came of a step, and what the model has foreseen.
struct Outcome {
    answered: Vec<Status>,
    foreseen: Vec<Status>,
}

impl<'s> Run<'s> {
    fn new(vm: &'s TestVm, kernel: GuestKernel<'s>, tally: &'s Tally) -> Self {
        Self { vm, kernel, model: Model::default(), unfinished: false, tally }
    }

    /// Carries out a step with the fault planned.
    fn step(&mut self, step: &Step, fault: Option<InjectedFault>) {
        let faults = self.vm.platform.lock().faults.injected();
        let logged = self.vm.service.statistics().log_lines;
        if let Some(InjectedFault { kind, after, errno }) = fault {
            self.vm.platform.lock().faults.fail_once(kind, after, errno);
        }
        let before = self.model.clone();
        let outcome = match step {
            Step::Map(mode, desired) => self.map(*mode, desired),
            Step::Retarget(mode, picks) => self.retarget(*mode, picks),
            Step::Unmap(mode, picks) => self.unmap(*mode, picks),
            Step::Raise(pick, number) => return self.raise(*pick, *number),
            Step::RaiseMasked(pick) => return self.raise_masked(*pick),
        };
        self.vm.platform.lock().faults.clear();
        let met = self.vm.platform.lock().faults.injected() > faults;
        self.tally.faults.set(self.tally.faults.get() + usize::from(met));
        let mut injected = self.injected();
        injected.sort_unstable();
        let due = self.model.injected_since(&before);
        if met {
            outcome.assert_no_grant_out_of_range();
            assert!(due.iter().all(|one| injected.contains(one)), "{step:?}: {injected:?}, due {due:?}");
            self.raise_again();
            let reported =
                outcome.answered != outcome.foreseen || self.vm.service.statistics().log_lines > logged;
            // Nothing was reported: then the failure was made good, and all is as if nothing had failed.
            self.unfinished |= reported;
        } else {
            assert_eq!(outcome.answered, outcome.foreseen, "{step:?}");
            assert_eq!(injected, due, "{step:?}");
        }
    }

    fn injected(&self) -> Vec<(u32, u8)> {
        let injected = self.vm.injected();
        self.tally.injected.set(self.tally.injected.get() + injected.len());
        injected
    }

    fn map(&mut self, mode: BatchMode, desired: &[DesiredIrte]) -> Outcome {
        let mut once = BTreeSet::new();
        let desired: Vec<_> = desired.iter().copied().filter(|desired| once.insert(desired.slot)).collect();
        let foreseen = self.model.clone().map(mode, &desired);
        Outcome { answered: self.kernel.map(mode, &desired, &mut self.model), foreseen }
    }

    fn retarget(&mut self, mode: BatchMode, picks: &[(usize, Target)]) -> Outcome {
        let targets = picks.iter().filter_map(|(pick, target)| Some((self.kernel.pick(*pick)?, *target)));
        let desired: Vec<(Slot, Target)> = targets.collect::<BTreeMap<_, _>>().into_iter().collect();
        let foreseen = self.model.clone().retarget(mode, &desired);
        let answered = self.kernel.retarget(mode, &desired);
        for (one, _) in desired.iter().zip(&answered).filter(|(_, status)| **status == Status::OK) {
            self.model.retarget(BatchMode::Partial, &[*one]);
        }
        Outcome { answered, foreseen }
    }

    fn unmap(&mut self, mode: BatchMode, picks: &[usize]) -> Outcome {
        let slots: BTreeSet<Slot> = picks.iter().filter_map(|pick| self.kernel.pick(*pick)).collect();
        let slots: Vec<_> = slots.into_iter().collect();
        let answered = self.kernel.unmap(mode, &slots);
        for (slot, status) in slots.iter().zip(&answered) {
            if *status == Status::OK || is_stale(*status) {
                self.model.held.remove(slot);
            }
        }
        Outcome { answered, foreseen: vec![Status::OK; slots.len()] }
    }

    fn raise(&mut self, pick: usize, number: u32) {
        self.vm.platform.lock().faults.clear();
        if let Some(slot) = self.kernel.pick(pick) {
            let number = number % self.model.held[&slot].count;
            self.kernel.raise(slot, number);
            assert_eq!(self.injected(), self.model.raise(slot, number), "{slot:?}");
        }
    }

    fn raise_masked(&mut self, pick: usize) {
        self.vm.platform.lock().faults.clear();
        if let Some(slot) = self.kernel.pick(pick).filter(|(_, store, _)| *store == Store::MSIX) {
            self.kernel.raise_masked(slot);
            assert_eq!(self.injected(), self.model.raise(slot, 0), "{slot:?}");
        }
    }

    /// A RETARGET that failed may have delivered what was held. Raised again, it is held for certain.
    fn raise_again(&mut self) {
        for (slot, held) in &self.model.held {
            held.raised.iter().for_each(|number| self.kernel.raise(*slot, *number));
        }
        assert_eq!(self.vm.injected(), [], "parked");
    }

    /// Service and kernel hold what the model holds: exactly, unless the host could not take something down.
    fn compare(&self) {
        self.kernel.compare(&self.model);
        assert_eq!(self.vm.service.irtes().len(), self.model.messages());
        let (mut routes, expected) = (self.vm.routes(), self.model.routes());
        let held = self.vm.platform.lock().footprint();
        if self.unfinished {
            for route in &expected {
                let place = routes.iter().position(|other| other == route);
                routes.swap_remove(place.unwrap_or_else(|| panic!("{route:?} is not in the kernel")));
            }
            assert!(held.irqfds.len() >= expected.len() && held.started.len() >= self.model.messages());
        } else {
            assert_eq!((&routes, held.irqfds.len()), (&expected, expected.len()));
            assert_eq!(held.started.len(), self.model.messages());
        }
    }
}

impl Outcome {
    /// A fault excuses no grant of what cannot be served.
    fn assert_no_grant_out_of_range(&self) {
        let out_of_range =
            |status: &Status| (Status::NO_DEVICE.0..Status::ALREADY_MAPPED.0).contains(&status.0);
        let both = self.answered.iter().zip(&self.foreseen);
        let granted: Vec<_> = both.filter(|(a, f)| **a == Status::OK && out_of_range(f)).collect();
        assert!(granted.is_empty(), "{granted:?}");
    }
}

/// What the sessions of all cases came to.
#[derive(Default)]
struct Tally {
    faults: Cell<usize>,
    injected: Cell<usize>,
}

/// Plays sessions of one VM.
fn play(sessions: &Sessions, armed_ahead: u32, tally: &Tally) {
    let vm = TestVm::with(&config().with_armed_ahead(armed_ahead));
    for steps in sessions {
        let remapping = vm.enable();
        let stores = Stores::open(&vm);
        let mut run = Run::new(&vm, GuestKernel::new(&vm, &remapping, &stores), tally);
        for (step, fault) in steps {
            vm.platform.lock().expect(None);
            vm.service.arm_ahead();
            run.step(step, *fault);
            run.compare();
        }
        drop(run);
        drop(stores);
        drop(remapping.disable().unwrap());
        vm.assert_nothing_held();
    }
    vm.assert_ends_clean();
}

fn play_random(fault: impl Strategy<Value = Option<InjectedFault>>) -> Tally {
    let tally = Tally::default();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) };
    let played = TestRunner::new(config).run(&(sessions(fault), 0..6u32), |(sessions, armed_ahead)| {
        play(&sessions, armed_ahead, &tally);
        Ok(())
    });
    played.unwrap_or_else(|failed| panic!("{failed}"));
    tally
}

#[test]
fn what_a_guest_asks_is_what_the_kernel_has() {
    let tally = play_random(Just(None));
    assert_eq!(tally.faults.get(), 0);
    assert!(tally.injected.get() >= 1_000, "only {} interrupts", tally.injected.get());
}

#[test]
fn a_host_that_fails_now_and_then_tells_the_guest_and_goes_on() {
    let tally = play_random(fault());
    assert!(tally.faults.get() >= 300, "only {} faults", tally.faults.get());
    assert!(tally.injected.get() >= 500, "only {} interrupts", tally.injected.get());
}
