//! What a random guest kernel does, and where the host fails meanwhile.

use crate::model::DesiredIrte;
use crate::test_vm::APIC_IDS;
use proptest::prelude::*;
use pvir_guest::abi::Store;
use pvir_guest::{BatchMode, Target};
use pvir_host::fake::CallKind;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Map(BatchMode, Vec<DesiredIrte>),
    /// Held entries by random numbers.
    Retarget(BatchMode, Vec<(usize, Target)>),
    Unmap(BatchMode, Vec<usize>),
    /// A held entry, and a message of it, by random numbers.
    Raise(usize, u32),
    /// The same while the entry is masked.
    RaiseMasked(usize),
}

/// The call of this kind that comes after so many others fails with this error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InjectedFault {
    pub(crate) kind: Option<CallKind>,
    pub(crate) after: u32,
    pub(crate) errno: i32,
}

fn target() -> impl Strategy<Value = Target> {
    let destination =
        prop_oneof![8 => prop::sample::select(APIC_IDS.to_vec()), 1 => Just(2u32), 1 => Just(u32::MAX)];
    let vector = prop_oneof![8 => 0x40..0x50u8, 1 => 0..32u8];
    let routed = (destination, vector).prop_map(|(destination, vector)| Target::fixed(destination, vector));
    prop_oneof![3 => routed, 1 => Just(Target::Parked)]
}

fn desired() -> impl Strategy<Value = DesiredIrte> {
    let one = |function, store, indices| (Just(function), Just(store), indices, Just(1u32));
    let entry = prop_oneof![
        6 => one(0, Store::MSIX, prop_oneof![8 => 0..6u32, 1 => 62..66u32].boxed()),
        4 => one(0, Store::IMS, prop_oneof![8 => 58..64u32, 1 => 64..66u32].boxed()),
        3 => one(1, Store::MSIX, (0..9u32).boxed()),
        2 => one(1, Store::IMS, (0..5u32).boxed()),
        3 => (Just(2usize), Just(Store::MSI), prop_oneof![9 => Just(0u32), 1 => Just(1u32)].boxed(), 1..10u32),
        1 => one(2, Store::MSIX, Just(0u32).boxed()),
    ];
    let desired = |((function, store, index, count), target)| DesiredIrte {
        slot: (function, store, index),
        count,
        target,
    };
    (entry, target()).prop_map(desired)
}

fn step() -> impl Strategy<Value = Step> {
    let mode = || prop_oneof![3 => Just(BatchMode::Partial), 1 => Just(BatchMode::AllOrNothing)];
    let some = || prop::collection::vec(any::<usize>(), 1..6);
    prop_oneof![
        4 => (mode(), prop::collection::vec(desired(), 1..6)).prop_map(|(mode, desired)| Step::Map(mode, desired)),
        3 => (mode(), prop::collection::vec((any::<usize>(), target()), 1..6))
            .prop_map(|(mode, desired)| Step::Retarget(mode, desired)),
        2 => (mode(), some()).prop_map(|(mode, picks)| Step::Unmap(mode, picks)),
        4 => (any::<usize>(), any::<u32>()).prop_map(|(pick, number)| Step::Raise(pick, number)),
        1 => any::<usize>().prop_map(Step::RaiseMasked),
    ]
}

pub(crate) fn fault() -> impl Strategy<Value = Option<InjectedFault>> {
    let kinds = [
        CallKind::SetRoutes,
        CallKind::Attach,
        CallKind::Detach,
        CallKind::Start,
        CallKind::Stop,
        CallKind::Pair,
        CallKind::Mask,
    ];
    let kind = prop_oneof![1 => Just(None), 2 => prop::sample::select(kinds.to_vec()).prop_map(Some)];
    let errno = prop::sample::select(vec![libc::EIO, libc::ENOMEM, libc::ENOSPC, libc::EBADMSG]);
    let after = prop_oneof![1 => Just(0u32), 1 => 0..6u32];
    let fault =
        (kind, after, errno).prop_map(|(kind, after, errno)| Some(InjectedFault { kind, after, errno }));
    prop_oneof![2 => Just(None), 1 => fault]
}

/// One session after the other; each step with its fault, if there is one.
pub(crate) type Sessions = Vec<Vec<(Step, Option<InjectedFault>)>>;

pub(crate) fn sessions(
    fault: impl Strategy<Value = Option<InjectedFault>>,
) -> impl Strategy<Value = Sessions> {
    prop::collection::vec(prop::collection::vec((step(), fault), 1..40), 1..3)
}
