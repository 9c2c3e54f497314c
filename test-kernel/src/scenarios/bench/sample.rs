//! Cycles, accesses and calls of a step.

use super::Way;
use crate::console::report::Event;
use crate::cpu::time::cycles;

/// What a step has cost, all its repetitions together.
#[derive(Clone, Copy, Default)]
pub(super) struct Step {
    cycles: u64,
    accesses: u64,
    calls: u64,
    /// Entries that the step was about, counted as often as it was done.
    entries: u64,
}

impl Step {
    /// Does it, and adds what it costs.
    pub(super) fn take<W: Way>(
        &mut self,
        way: &mut W,
        right: &mut bool,
        entries: usize,
        step: impl FnOnce(&mut W) -> bool,
    ) {
        let (accesses, calls) = (way.accesses(), way.calls());
        let start = cycles();
        let done = step(way);
        self.cycles += cycles().wrapping_sub(start);
        self.accesses += way.accesses() - accesses;
        self.calls += way.calls() - calls;
        self.entries += entries as u64;
        *right &= done;
    }
}

/// All steps, once.
#[derive(Default)]
pub(super) struct Round {
    pub(super) set_up: Step,
    pub(super) retarget_one: Step,
    pub(super) retarget_all: Step,
    pub(super) mask: Step,
    pub(super) unmask: Step,
    pub(super) tear_down: Step,
}

impl Round {
    pub(super) fn report(&self, event: &mut Event<'_>) {
        let steps = [
            ("set_up", self.set_up),
            ("retarget_one", self.retarget_one),
            ("retarget_all", self.retarget_all),
            ("mask", self.mask),
            ("unmask", self.unmask),
            ("tear_down", self.tear_down),
        ];
        for (name, step) in steps {
            event.object(name, |object| {
                object
                    .num("cycles", step.cycles)
                    .num("accesses", step.accesses)
                    .num("calls", step.calls)
                    .num("entries", step.entries);
            });
        }
    }
}
