//! What must hold in every state, and what must have come when nothing goes on by itself any more.

use crate::machine::{Machine, is_quiescent};
use crate::world::{Breach, Entry, Phase, Vm, World};
use stateright::Property;

/// M1, R2, R3.
pub const ASKED: &str = "an interrupt arrives only where a call has asked for it";
/// U1, V3.
pub const RELEASED: &str = "nothing arrives for an entry that is not mapped any more";
/// The safe order (`docs/architecture.md`).
pub const ROUTED: &str = "KVM never injects by a GSI without a route";
/// M3, W1, Z3.
pub const MASKED: &str = "an entry that the guest holds masked is masked";
/// M6, A5, A7, S4.
pub const HELD: &str = "what the host has accepted, it has until it is delivered";
/// S4, Z4.
pub const DOUBLED: &str = "the host delivers nothing that it does not have";
/// R2, U1: what the guest is told about its handlers is enough.
pub const HANDLER: &str = "every interrupt finds the handler of its entry";
/// E5, W5.
pub const ISOLATED: &str = "no device interrupts another VM";
/// H1, H2.
pub const HANDLES: &str = "a handle that was given back is dead, and is not given again";
/// U2.
pub const PAIRS: &str = "an IRTE is present for exactly the entries that are started";
/// V10.
pub const CUT_OFF: &str = "a device that is cut off interrupts nobody";
/// Limits of IRTEs.
pub const QUOTAS: &str = "each VM gets its quota and no more";
/// S4.
pub const SAVED: &str = "a save has everything that the local APICs had accepted";
/// Liveness: nothing is lost, and nobody waits for ever.
pub const HANDLED: &str =
    "when nothing goes on by itself any more, every raise has been handled, and every entry is live";

/// All of them.
pub(crate) fn all() -> Vec<Property<Machine>> {
    vec![
        Property::always(ASKED, |_: &Machine, world: &World| world.breach != Some(Breach::Misrouted)),
        Property::always(RELEASED, |_: &Machine, world: &World| world.breach != Some(Breach::AfterRelease)),
        Property::always(ROUTED, |_: &Machine, world: &World| world.breach != Some(Breach::NoRoute)),
        Property::always(MASKED, |machine: &Machine, world: &World| {
            judged(machine, world).all(masks_are_the_guests)
        }),
        Property::always(HELD, |_: &Machine, world: &World| world.vms.iter().all(accepted_is_held)),
        Property::always(DOUBLED, |_: &Machine, world: &World| world.breach != Some(Breach::Doubled)),
        Property::always(HANDLER, |_: &Machine, world: &World| world.breach != Some(Breach::NoHandler)),
        Property::always(ISOLATED, |_: &Machine, world: &World| world.breach != Some(Breach::Foreign)),
        Property::always(HANDLES, |_: &Machine, world: &World| world.breach != Some(Breach::DeadHandle)),
        Property::always(PAIRS, |_: &Machine, world: &World| pairs_are_of_started_entries(world)),
        Property::always(CUT_OFF, |_: &Machine, world: &World| world.breach != Some(Breach::CutOff)),
        Property::always(QUOTAS, |machine: &Machine, world: &World| quotas_hold(machine, world)),
        Property::always(SAVED, |_: &Machine, world: &World| world.breach != Some(Breach::LostInSave)),
        Property::always(HANDLED, |machine: &Machine, world: &World| {
            judged(machine, world).all(is_settled) || !is_quiescent(machine, world)
        }),
    ]
}

/// The VMs whose guests keep the contract. Who does not has nothing promised.
fn judged<'a>(machine: &Machine, world: &'a World) -> impl Iterator<Item = &'a Vm> {
    world.vms.iter().skip(usize::from(machine.design.scope.hostile))
}

fn masks_are_the_guests(vm: &Vm) -> bool {
    let is_masked = |entry: &Entry| match entry.guest.phase {
        Phase::Mapped | Phase::Programmed => entry.store.masked,
        _ => true,
    };
    !vm.attached || vm.work.is_some() || vm.entries.iter().all(is_masked)
}

fn accepted_is_held(vm: &Vm) -> bool {
    (0..).zip(&vm.entries).all(|(number, entry)| {
        !entry.line.accepted || entry.line.count || entry.line.owed || vm.is_queued(number)
    })
}

fn pairs_are_of_started_entries(world: &World) -> bool {
    let present = world.irtes.iter().filter_map(|irte| irte.owner);
    let is_started = |(vm, entry): (u8, u8)| {
        let started = world.vms[usize::from(vm)].entries[usize::from(entry)].line.started;
        started.is_some_and(|pair| world.irtes[usize::from(pair.irte)].owner == Some((vm, entry)))
    };
    let started = world.vms.iter().flat_map(|vm| &vm.entries).filter(|entry| entry.line.started.is_some());
    let released = |vm: &Vm| {
        vm.work.is_some()
            || !vm.attached
            || vm.entries.iter().all(|entry| entry.line.slot.is_some() || entry.line.started.is_none())
    };
    present.clone().all(is_started) && present.count() == started.count() && world.vms.iter().all(released)
}

fn quotas_hold(machine: &Machine, world: &World) -> bool {
    let holds = |(vm, quota): (&Vm, &u8)| {
        let mapped = vm.slots.iter().filter(|slot| slot.entry.is_some()).count();
        mapped <= usize::from(*quota) && (vm.work.is_some() || usize::from(vm.held) == mapped)
    };
    world.breach != Some(Breach::Quota) && world.vms.iter().zip(&machine.design.scope.quotas).all(holds)
}

/// Whether nothing is outstanding.
fn is_settled(vm: &Vm) -> bool {
    let settled = |entry: &Entry| match entry.guest.phase {
        Phase::Live => !entry.store.cause && !entry.guest.parked && !entry.guest.soft,
        Phase::Refused => true,
        // Of a VM that does not take part.
        Phase::Idle => entry.guest.target.is_none() && *vm == Vm::default(),
        _ => false,
    };
    vm.work.is_none() && vm.entries.iter().all(settled)
}
