//! Cycles, accesses and calls of a step.

use super::Method;
use crate::machine::console::report::Event;
use crate::machine::cpu::time::cycles;
use crate::machine::cpu::usermode;

/// Where the steps are done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ring {
    /// Ring 0, as a kernel does.
    Kernel,
    /// Ring 3, and ring 0 for what needs it: where a machine interprets ring 0, that is nearer to what hardware does.
    User,
}

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
    pub(super) fn take<W: Method>(
        &mut self,
        way: &mut W,
        ring: Ring,
        right: &mut bool,
        entries: usize,
        step: impl FnOnce(&mut W) -> bool,
    ) {
        let (accesses, calls) = (way.accesses(), way.calls());
        let timed = |way: &mut W| {
            let start = cycles();
            let done = step(way);
            (cycles().wrapping_sub(start), done)
        };
        let (took, done) = match ring {
            Ring::Kernel => timed(way),
            Ring::User => match usermode::in_ring3(|| timed(way)) {
                Ok(timed) => timed.unwrap_or_default(),
                Err(fault) => {
                    crate::println!("error: in ring 3: {fault:?}");
                    (0, false)
                }
            },
        };
        self.cycles += took;
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
