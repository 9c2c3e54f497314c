//! The steps, and the least that each can cost.

use std::collections::BTreeMap;

use super::Kind;

/// Entries in one call (`docs/abi.md`).
const CALL: u64 = 512;
/// Accesses of Linux for a vector, where the table is trapped: to request, to mask and unmask, to read whether it is
/// pending, to move, to free.
const REQUEST: u64 = 9;
const MASK_AND_UNMASK: u64 = 2;
const PENDING: u64 = 1;
const MOVE: u64 = 11;
const FREE: u64 = 6;

/// One step: what lies between two checkpoints or more.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    /// The checkpoints behind it: each but the first ends a part of it.
    pub(super) checkpoints: &'static [&'static str],
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    SetUp,
    MaskAndUnmask,
    Pending,
    Retarget,
    Raise,
    Flow,
    /// Nothing is asked of it: what ends a step so that the next begins at rest.
    Between,
    TearDown,
}

const fn step(name: &'static str, checkpoints: &'static [&'static str], what: What) -> Step {
    Step { name, checkpoints, what }
}

/// In order.
pub(super) const STEPS: &[Step] = &[
    step("set-up", &["mapped", "programmed"], What::SetUp),
    step("mask and unmask", &["masked"], What::MaskAndUnmask),
    step("pending bits", &["pending"], What::Pending),
    step("retarget", &["retargeted"], What::Retarget),
    step("each raised once", &["raised"], What::Raise),
    step("begin to flow", &["flowing"], What::Between),
    step("10,000 interrupts", &["delivered"], What::Flow),
    step("stop", &["quiet", "masked-for-good"], What::Between),
    step("tear-down", &["unmapped"], What::TearDown),
];

/// What something costs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Calls of the service.
    pub(super) calls: u64,
    /// Exits on a BAR.
    pub(super) accesses: u64,
    pub(super) ioctls: BTreeMap<&'static str, u64>,
}

impl Cost {
    fn calls(calls: u64, ioctls: &[(&'static str, u64)]) -> Self {
        Self { calls, accesses: 0, ioctls: ioctls.iter().copied().filter(|(_, count)| *count > 0).collect() }
    }

    /// Exits to user space with the best conduit, which needs one for a call.
    pub(super) fn exits(&self) -> u64 {
        self.calls + self.accesses
    }
}

impl Step {
    /// Whether anything is to be learnt of it.
    pub(super) fn is_shown(&self, kind: Kind) -> bool {
        match self.what {
            What::Between => false,
            What::Raise | What::Flow => kind != Kind::Silent,
            _ => true,
        }
    }

    /// Whether it must cost what it says; the others are there to be passed.
    pub(super) fn is_checked(&self) -> bool {
        self.what != What::Between
    }

    /// The least for so many vectors.
    pub(super) fn floor(&self, vectors: u64, kind: Kind) -> Cost {
        let calls = vectors.div_ceil(CALL);
        let of_device = if kind.has_vfio() { calls } else { 0 };
        match self.what {
            What::SetUp => Cost::calls(
                calls,
                &[
                    ("KVM_SET_GSI_ROUTING", calls),
                    ("KVM_IRQFD", vectors),
                    ("VFIO_DEVICE_SET_IRQS", of_device),
                ],
            ),
            What::Retarget => Cost::calls(calls, &[("KVM_SET_GSI_ROUTING", calls)]),
            What::TearDown => Cost::calls(
                calls,
                &[
                    ("KVM_SET_GSI_ROUTING", calls),
                    ("KVM_IRQFD (de-assign)", vectors),
                    ("VFIO_DEVICE_SET_IRQS", of_device),
                ],
            ),
            _ => Cost { accesses: self.raising(vectors, kind), ..Cost::calls(0, &[]) },
        }
    }

    /// Exits on BARs where the table is trapped and the guest is Linux.
    pub(super) fn trapped(&self, vectors: u64, kind: Kind) -> u64 {
        let each = match self.what {
            What::SetUp => REQUEST,
            What::MaskAndUnmask => MASK_AND_UNMASK,
            What::Pending => PENDING,
            What::Retarget => MOVE,
            What::TearDown => FREE,
            What::Raise | What::Flow | What::Between => 0,
        };
        each * vectors + self.raising(vectors, kind)
    }

    /// The emulated device is told by a register that traps to raise one.
    fn raising(&self, vectors: u64, kind: Kind) -> u64 {
        if self.what == What::Raise && kind == Kind::Emulated { vectors } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> &'static Step {
        STEPS.iter().find(|step| step.name == name).unwrap()
    }

    #[test]
    fn more_than_a_call_holds_are_several_calls_and_no_more_than_needed() {
        let calls = |vectors| of("set-up").floor(vectors, Kind::PassedThrough).calls;
        assert_eq!([1, 512, 513, 2048].map(calls), [1, 1, 2, 4]);
        let set_up = of("set-up").floor(2048, Kind::Emulated);
        assert_eq!(
            set_up.ioctls.into_iter().collect::<Vec<_>>(),
            [("KVM_IRQFD", 2048), ("KVM_SET_GSI_ROUTING", 4)]
        );
    }

    #[test]
    fn nothing_is_free_where_the_table_is_trapped() {
        let trapped = |name| of(name).trapped(10, Kind::PassedThrough);
        assert_eq!(["set-up", "retarget", "tear-down", "pending bits"].map(trapped), [90, 110, 60, 10]);
        assert_eq!(of("mask and unmask").floor(10, Kind::PassedThrough), Cost::calls(0, &[]));
    }
}
