//! What can happen, and what comes of it.

use crate::design::Design;
use crate::guest;
use crate::host::{self, spend};
use crate::remapping;
use crate::world::{Breach, Kind, Pair, Phase, Target, World};

/// Something that happens. The first number is the VM's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The host goes on with what it does.
    Step(u8),
    /// An entry sends what it has pending.
    Send(u8, u8),
    /// A message arrives.
    Arrive(u8, u8),
    /// KVM's queue goes on with a GSI.
    Queue(u8, u8),
    /// A vCPU takes an interrupt.
    Take(u8, Target),
    /// An irqfd that was left on comes off.
    Sweep(u8, u8),
    /// MAP of an entry.
    Map(u8, u8, Option<Target>),
    /// The guest writes the pair.
    Program(u8, u8),
    /// The guest writes its own message into a trapped entry.
    ProgramTrapped(u8, u8, Target),
    /// The guest unmasks.
    Unmask(u8, u8),
    /// The RETARGET that un-parks.
    Unpark(u8, u8, Target),
    /// The guest takes an old handler away.
    Drain(u8, u8, Target),
    /// The guest asks what another epoch means.
    Notice(u8),
    /// The guest raises an interrupt in software.
    Soft(u8, u8),
    /// The device raises an interrupt.
    Raise(u8, u8),
    /// RETARGET from one place to another.
    Retarget(u8, u8, Target),
    /// RETARGET with PARKED.
    Park(u8, u8),
    /// The guest masks.
    Mask(u8, u8),
    /// UNMAP.
    Unmap(u8, u8),
    /// A call with a handle that was given back.
    StaleCall(u8, u8),
    /// ATTACH.
    Attach(u8),
    /// DETACH.
    Detach(u8),
    /// A function level reset.
    Reset(u8),
    /// The host cuts the device off.
    CutOff(u8),
    /// An event makes the pairs stale.
    Stale(u8),
    /// Save and restore.
    Save(u8),
    /// A hostile guest writes a pair into an entry, and unmasks it.
    Scribble(u8, u8, u8),
}

/// Carries an action out.
pub(crate) fn act(design: &Design, world: &mut World, action: Action) {
    let index = usize::from;
    match action {
        Action::Step(vm) => {
            if let Some(step) = host::next(design, &world.vms[index(vm)]) {
                host::step(design, world, index(vm), step);
            }
        }
        Action::Send(vm, e) => remapping::send(world, index(vm), index(e)),
        Action::Arrive(vm, e) => remapping::arrive(design, world, index(vm), index(e)),
        Action::Queue(vm, gsi) => remapping::work_queue(world, index(vm), index(gsi)),
        Action::Take(vm, t) => guest::take(world, index(vm), t, !(design.scope.hostile && vm == 0)),
        Action::Sweep(vm, gsi) => world.vms[index(vm)].gsis[index(gsi)] = Default::default(),
        Action::Map(vm, e, target) => {
            match target {
                Some(target) => world.vms[index(vm)].entries[index(e)].guest.aim(target),
                None => spend(&mut world.left, |left| &mut left.parks),
            }
            host::begin(world, index(vm), Kind::Map, e, target);
        }
        Action::Program(vm, e) => {
            let entry = &mut world.vms[index(vm)].entries[index(e)];
            entry.store.pair = entry.guest.pair;
            entry.guest.phase = Phase::Programmed;
        }
        Action::ProgramTrapped(vm, e, target) => {
            let guest = &mut world.vms[index(vm)].entries[index(e)].guest;
            guest.aim(target);
            guest.phase = Phase::Programmed;
        }
        Action::Unmask(vm, e) => {
            let vm_is_attached = world.vms[index(vm)].attached;
            let entry = &mut world.vms[index(vm)].entries[index(e)];
            if vm_is_attached {
                entry.store.masked = false;
                entry.guest.phase = Phase::Live;
            } else {
                let target = entry.guest.target;
                host::begin(world, index(vm), Kind::TrapUnmask, e, target);
            }
        }
        Action::Unpark(vm, e, target) => {
            world.vms[index(vm)].entries[index(e)].guest.aim(target);
            host::begin(world, index(vm), Kind::Retarget, e, Some(target));
        }
        Action::Drain(vm, e, t) => world.vms[index(vm)].entries[index(e)].guest.handlers &= !(1 << t),
        Action::Notice(vm) => guest::notice(design, world, index(vm)),
        Action::Soft(vm, e) => {
            let entry = &mut world.vms[index(vm)].entries[index(e)];
            (entry.guest.soft, entry.store.cause) = (false, false);
        }
        Action::Raise(vm, e) => {
            spend(&mut world.left, |left| &mut left.raises);
            let vm = &mut world.vms[index(vm)];
            // A driver that gives an entry back does not care any more.
            let is_given_back = vm.work.is_some_and(|work| work.kind == Kind::Unmap && work.entry == e);
            let store = &mut vm.entries[index(e)].store;
            (store.cause, store.pending) = (!is_given_back, true);
        }
        Action::Retarget(vm, e, target) => {
            spend(&mut world.left, |left| &mut left.moves);
            world.vms[index(vm)].entries[index(e)].guest.aim(target);
            let kind = if world.vms[index(vm)].attached { Kind::Retarget } else { Kind::TrapMove };
            host::begin(world, index(vm), kind, e, Some(target));
        }
        Action::Park(vm, e) => {
            spend(&mut world.left, |left| &mut left.parks);
            world.vms[index(vm)].entries[index(e)].guest.target = None;
            host::begin(world, index(vm), Kind::Retarget, e, None);
        }
        Action::Mask(vm, e) => {
            spend(&mut world.left, |left| &mut left.masks);
            if world.vms[index(vm)].attached {
                let entry = &mut world.vms[index(vm)].entries[index(e)];
                entry.store.masked = true;
                entry.guest.phase = Phase::Programmed;
            } else {
                host::begin(world, index(vm), Kind::TrapMask, e, None);
            }
        }
        Action::Unmap(vm, e) => {
            spend(&mut world.left, |left| &mut left.unmaps);
            world.vms[index(vm)].entries[index(e)].store.cause = false;
            host::begin(world, index(vm), Kind::Unmap, e, None);
        }
        Action::StaleCall(vm, e) => {
            spend(&mut world.left, |left| &mut left.stale_calls);
            let vm = &world.vms[index(vm)];
            let old = vm.entries[index(e)].guest.old;
            let lives = vm
                .slots
                .get(old.slot() as usize)
                .is_some_and(|slot| slot.entry.is_some() && u32::from(slot.generation) == old.generation());
            if lives {
                world.breach = Some(Breach::DeadHandle);
            }
        }
        Action::Attach(vm) => {
            spend(&mut world.left, |left| &mut left.attaches);
            host::begin(world, index(vm), Kind::Attach, 0, None);
        }
        Action::Detach(vm) => {
            spend(&mut world.left, |left| &mut left.attaches);
            host::begin(world, index(vm), Kind::Detach, 0, None);
        }
        Action::Reset(vm) => {
            spend(&mut world.left, |left| &mut left.resets);
            host::begin(world, index(vm), Kind::Reset, 0, None);
        }
        Action::CutOff(vm) => {
            spend(&mut world.left, |left| &mut left.storms);
            host::begin(world, index(vm), Kind::CutOff, 0, None);
        }
        Action::Stale(vm) => {
            spend(&mut world.left, |left| &mut left.events);
            host::begin(world, index(vm), Kind::Stale, 0, None);
        }
        Action::Save(vm) => {
            spend(&mut world.left, |left| &mut left.saves);
            host::begin(world, index(vm), Kind::Save, 0, None);
        }
        Action::Scribble(vm, e, irte) => {
            spend(&mut world.left, |left| &mut left.scribbles);
            let generation = world.irtes[index(irte)].generation;
            let store = &mut world.vms[index(vm)].entries[index(e)].store;
            (store.pair, store.masked) = (Some(Pair { irte, generation }), false);
        }
    }
}
