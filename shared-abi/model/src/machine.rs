//! The model for the checker: which actions there are in a state, and what comes of them.

use crate::action::{Action, act};
use crate::design::Design;
use crate::host;
use crate::properties;
use crate::remapping;
use crate::world::{ENTRIES, GSIS, IRTES, Kind, Phase, Queue, TARGETS, Target, VMS, World};
use pvir_abi::Handle;
use stateright::{Model, Property};

/// A design, to be checked in all its states.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The design.
    pub design: Design,
}

impl Model for Machine {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![host::at_first(&self.design)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.breach.is_none() {
            for vm in self.taking_part() {
                goes_on(self, world, vm, actions);
                choices(self, world, vm, actions);
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = *world;
        act(&self.design, &mut world, action);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Machine {
    fn taking_part(&self) -> impl Iterator<Item = usize> {
        let quotas = self.design.scope.quotas;
        (0..VMS).filter(move |vm| quotas[*vm] > 0)
    }

    fn is_hostile(&self, vm: usize) -> bool {
        self.design.scope.hostile && vm == 0
    }
}

/// Whether nothing goes on by itself any more: what is left is somebody's choice.
pub(crate) fn is_quiescent(machine: &Machine, world: &World) -> bool {
    let mut actions = Vec::new();
    machine.taking_part().for_each(|vm| goes_on(machine, world, vm, &mut actions));
    world.breach.is_none() && actions.is_empty()
}

/// What happens sooner or later, whether anybody chooses or not.
fn goes_on(machine: &Machine, world: &World, at: usize, actions: &mut Vec<Action>) {
    let (design, vm, n) = (&machine.design, &world.vms[at], at as u8);
    if host::next(design, vm).is_some() {
        actions.push(Action::Step(n));
    }
    for (number, gsi) in (0..GSIS as u8).zip(&vm.gsis) {
        if gsi.queue != Queue::Empty {
            actions.push(Action::Queue(n, number));
        } else if gsi.retired && vm.work.is_none() {
            actions.push(Action::Sweep(n, number));
        }
    }
    for entry in 0..ENTRIES {
        if remapping::can_send(world, at, entry) {
            actions.push(Action::Send(n, entry as u8));
        }
        if vm.entries[entry].store.wire.is_some() {
            actions.push(Action::Arrive(n, entry as u8));
        }
    }
    if vm.paused {
        return;
    }
    let targets = 0..TARGETS as Target;
    actions.extend(targets.clone().filter(|t| vm.irr[usize::from(*t)] != 0).map(|t| Action::Take(n, t)));
    if vm.may_notice(design) {
        actions.push(Action::Notice(n));
    }
    for (number, entry) in vm.entries.iter().enumerate() {
        let (e, guest) = (number as u8, &entry.guest);
        let drained = targets.clone().filter(|t| vm.is_drained(design, number, *t));
        actions.extend(drained.map(|t| Action::Drain(n, e, t)));
        let is_busy = vm.work.is_some();
        match guest.phase {
            Phase::Idle if is_busy => {}
            Phase::Idle if vm.attached && !vm.cut_off => {
                actions.extend(vm.places(design, number).map(|t| Action::Map(n, e, Some(t))));
            }
            Phase::Refused if !is_busy && vm.held < design.scope.quotas[at] => {
                actions.extend(vm.places(design, number).map(|t| Action::Map(n, e, Some(t))));
            }
            Phase::Idle if !vm.attached => {
                actions.extend(vm.places(design, number).map(|t| Action::ProgramTrapped(n, e, t)));
            }
            Phase::Mapped if vm.may_write(number) => actions.push(Action::Program(n, e)),
            Phase::Programmed if if vm.attached { vm.may_write(number) } else { !is_busy } => {
                actions.push(Action::Unmask(n, e));
            }
            Phase::Live if guest.soft => actions.push(Action::Soft(n, e)),
            _ => {}
        }
        if guest.parked && !is_busy && vm.epoch == vm.seen {
            actions.extend(vm.places(design, number).map(|t| Action::Unpark(n, e, t)));
        }
    }
}

/// What somebody may choose, as often as the scope allows.
fn choices(machine: &Machine, world: &World, at: usize, actions: &mut Vec<Action>) {
    let (design, vm, n, left) = (&machine.design, &world.vms[at], at as u8, &world.left);
    if vm.paused {
        return;
    }
    let is_free = vm.work.is_none();
    let mut offer = |is_left: u8, action: Action| {
        if is_left > 0 {
            actions.push(action);
        }
    };
    for (number, entry) in vm.entries.iter().enumerate() {
        let (e, guest) = (number as u8, &entry.guest);
        let is_mapped = matches!(guest.phase, Phase::Mapped | Phase::Programmed | Phase::Live);
        let is_live = guest.phase == Phase::Live;
        // A driver lets its device raise interrupts when it has them.
        let raises = match vm.work {
            Some(work) if work.kind == Kind::Attach => work.noted >> number & 1 != 0,
            _ if vm.attached => is_mapped,
            _ => is_live || entry.line.started.is_some(),
        };
        if raises {
            offer(left.raises, Action::Raise(n, e));
        }
        if is_live && if vm.attached { vm.may_write(number) } else { is_free } {
            offer(left.masks, Action::Mask(n, e));
        }
        if machine.is_hostile(at) && vm.attached {
            (0..IRTES as u8).for_each(|irte| offer(left.scribbles, Action::Scribble(n, e, irte)));
        }
        if !is_free || vm.epoch != vm.seen {
            continue;
        }
        if guest.old != Handle::NONE {
            offer(left.stale_calls, Action::StaleCall(n, e));
        }
        if vm.attached && guest.phase == Phase::Idle && guest.target.is_none() {
            offer(left.parks, Action::Map(n, e, None));
        }
        if (vm.attached && is_mapped || is_live) && !guest.parked {
            let taken = vm.entries.iter().enumerate().filter(|(other, _)| *other != number);
            let taken = taken.fold(0, |bits, (_, other)| bits | other.guest.handlers);
            let elsewhere =
                (0..design.scope.targets).filter(|t| taken >> t & 1 == 0 && guest.target != Some(*t));
            elsewhere.for_each(|t| offer(left.moves, Action::Retarget(n, e, t)));
            if vm.attached {
                offer(left.parks, Action::Park(n, e));
            }
        }
        let may_unmap = match guest.phase {
            // It reads back what it has masked, which waits for what is on its way.
            Phase::Mapped | Phase::Programmed => entry.store.wire.is_none(),
            _ => false,
        };
        if vm.attached && may_unmap {
            offer(left.unmaps, Action::Unmap(n, e));
        }
    }
    if !is_free || vm.epoch != vm.seen {
        return;
    }
    let has_entries = vm.entries.iter().any(|entry| entry.guest.phase != Phase::Idle);
    match vm.attached {
        false if has_entries => offer(left.attaches, Action::Attach(n)),
        true => {
            offer(left.attaches, Action::Detach(n));
            offer(left.resets, Action::Reset(n));
            if !vm.cut_off {
                offer(left.storms, Action::CutOff(n));
                offer(left.events, Action::Stale(n));
            }
            offer(left.saves, Action::Save(n));
        }
        false => {}
    }
}
