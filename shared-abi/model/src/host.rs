//! The host's steps, carried out.

use crate::design::{Design, Flaw};
use crate::plan::{Step, note, plan};
use crate::remapping;
use crate::world::{Breach, ENTRIES, Gsi, Kind, Left, Line, Phase, Queue, Slot, Target, Vm, Work, World};
use pvir_abi::Handle;

/// Begins work for a VM, whose lock is free.
pub(crate) fn begin(world: &mut World, at: usize, kind: Kind, entry: u8, target: Option<Target>) {
    let vm = &mut world.vms[at];
    vm.work = Some(Work { kind, entry, target, noted: note(vm, kind, entry), at: 0 });
}

/// The next step of a VM's work, if it can be made now.
pub(crate) fn next(design: &Design, vm: &Vm) -> Option<Step> {
    let work = vm.work?;
    let step = *plan(design, &work).get(usize::from(work.at))?;
    let may = match step {
        Step::Detach(entry) => !vm.is_queued(entry),
        // Read back after it was masked: what was sent has arrived.
        Step::Stop(entry) => {
            let store = &vm.entries[usize::from(entry)].store;
            store.wire.is_none() || !store.masked
        }
        // A reset waits for what the device has sent, and an emulated device sends at once.
        Step::ResetDevice | Step::Pause => vm.entries.iter().all(|entry| entry.store.wire.is_none()),
        _ => true,
    };
    may.then_some(step)
}

/// Makes a step of a VM's work.
pub(crate) fn step(design: &Design, world: &mut World, at: usize, step: Step) {
    let Some(work) = world.vms[at].work else { return };
    let goes_on = carry_out(design, world, at, work, step);
    let steps = plan(design, &work).len();
    let vm = &mut world.vms[at];
    vm.work = (goes_on && usize::from(work.at) + 1 < steps).then_some(Work { at: work.at + 1, ..work });
}

/// Whether the work goes on.
fn carry_out(design: &Design, world: &mut World, at: usize, work: Work, step: Step) -> bool {
    let vm = &mut world.vms[at];
    match step {
        Step::Reserve(entry) => return reserve(design, world, at, entry),
        Step::ReserveTrapped(entry) => take_line(vm, entry),
        Step::Route(entry) => set_route(vm, entry, work.target),
        Step::Unroute(entry) => set_route(vm, entry, None),
        Step::Attach(entry) => attach(vm, entry),
        Step::Detach(entry) => {
            if let Some(gsi) = vm.irqfd_of(entry) {
                let Gsi { irqfd, may_be_queued, .. } = &mut vm.gsis[gsi];
                (*irqfd, *may_be_queued) = (None, false);
            }
        }
        Step::Start(entry) => remapping::start(design, world, at, entry),
        Step::Quiet(entry) => {
            let entry = &mut vm.entries[usize::from(entry)];
            entry.store.masked |= entry.line.started.is_some();
        }
        Step::Stop(entry) => remapping::stop(design, world, at, entry),
        Step::Mask(entry) => vm.entries[usize::from(entry)].store.masked = true,
        Step::Free(entry) => {
            if let Some(gsi) = vm.entries[usize::from(entry)].line.gsi.take() {
                let gsi = &mut vm.gsis[usize::from(gsi)];
                gsi.used = gsi.irqfd.is_some();
                gsi.retired = gsi.used;
            }
        }
        Step::Release(entry) => release(design, vm, entry),
        Step::Open | Step::Close => {
            vm.attached = step == Step::Open;
            for entry in &mut vm.entries {
                let store = &mut entry.store;
                // What a device has pending when MSI-X is switched off is perhaps gone: here it is.
                (store.pending, store.masked, store.pair) = (false, true, None);
            }
        }
        Step::Hold => {
            for (number, entry) in vm.entries.iter_mut().enumerate() {
                let held = work.noted >> number & 1 != 0;
                entry.line.owed |= held;
                entry.line.accepted |= held;
            }
        }
        Step::BusMasterOff => vm.bus_master = false,
        Step::ResetDevice => {
            for entry in &mut vm.entries {
                let store = &mut entry.store;
                (store.cause, store.pending) = (false, false);
                // The kernel's own: its message, and not masked, of what is started.
                (store.pair, store.masked) = (entry.line.started, entry.line.started.is_none());
            }
            // From here on it is gone, whatever the host still has.
            (0..ENTRIES).for_each(|number| {
                let is_on_its_way = vm.irqfd_of(number as u8).is_some();
                vm.entries[number].line.accepted &= is_on_its_way;
            });
        }
        Step::DropHeld if work.kind == Kind::Retarget => {
            vm.entries[usize::from(work.entry)].line.count = false;
        }
        Step::DropHeld => {
            for number in 0..ENTRIES {
                let has_irqfd = vm.irqfd_of(number as u8).is_some();
                drop_held(&mut vm.entries[number].line, has_irqfd);
            }
        }
        Step::MaskAll => vm.entries.iter_mut().for_each(|entry| entry.store.masked = true),
        Step::Readmit => vm.cut_off = false,
        Step::CutOff => vm.cut_off = true,
        Step::Epoch => vm.epoch += 1,
        Step::Pause => vm.paused = true,
        Step::ReadApics => vm.saved_irr = vm.irr,
        Step::Restore => restore(design, world, at),
        Step::Resume => (vm.paused, vm.saved_irr) = (false, Default::default()),
        Step::Answer => answer(vm, &work),
    }
    true
}

fn reserve(design: &Design, world: &mut World, at: usize, entry: u8) -> bool {
    let quota = design.scope.quotas[at];
    let free = world.irtes.iter().any(|irte| irte.owner.is_none());
    let vm = &mut world.vms[at];
    let mapped = vm.slots.iter().filter(|slot| slot.entry.is_some()).count();
    let refused = vm.held >= quota && !design.has(Flaw::QuotaUnchecked);
    if refused || !free {
        if mapped < usize::from(quota) {
            world.breach = Some(Breach::Quota);
        }
        vm.entries[usize::from(entry)].guest.phase = Phase::Refused;
        return false;
    }
    let Some(place) = vm.slots.iter().position(|slot| slot.entry.is_none()) else { return false };
    let raised = u8::from(vm.slots[place].generation == 0 || !design.has(Flaw::HandleAgain));
    let slot = Slot { generation: vm.slots[place].generation + raised, entry: Some(entry) };
    vm.slots[place] = slot;
    vm.held += 1;
    if vm.entries.iter().any(|entry| entry.guest.old == handle(place as u8, slot)) {
        world.breach = Some(Breach::DeadHandle);
    }
    vm.entries[usize::from(entry)].line.slot = Some(place as u8);
    take_line(vm, entry);
    true
}

/// A GSI and an eventfd, with what is held for the entry.
fn take_line(vm: &mut Vm, entry: u8) {
    let line = &mut vm.entries[usize::from(entry)].line;
    line.count |= std::mem::take(&mut line.owed);
    let Some(gsi) = vm.gsis.iter().position(|gsi| !gsi.used) else { return };
    vm.gsis[gsi].used = true;
    line.gsi = Some(gsi as u8);
}

fn set_route(vm: &mut Vm, entry: u8, route: Option<Target>) {
    let line = &mut vm.entries[usize::from(entry)].line;
    line.target = route;
    if let Some(gsi) = line.gsi {
        vm.gsis[usize::from(gsi)].route = route;
    }
}

fn attach(vm: &mut Vm, entry: u8) {
    let line = &mut vm.entries[usize::from(entry)].line;
    let Some(gsi) = line.gsi else { return };
    let held = std::mem::take(&mut line.count);
    let gsi = &mut vm.gsis[usize::from(gsi)];
    gsi.irqfd = Some(entry);
    gsi.may_be_queued = held;
    gsi.queue = if held { Queue::Waiting } else { Queue::Empty };
}

fn drop_held(line: &mut Line, has_irqfd: bool) {
    line.owed = false;
    // What KVM has of an attached line is on its way.
    if !has_irqfd {
        (line.count, line.accepted) = (false, false);
    }
}

fn release(design: &Design, vm: &mut Vm, entry: u8) {
    let line = &mut vm.entries[usize::from(entry)].line;
    if let Some(slot) = line.slot.take() {
        vm.slots[usize::from(slot)].entry = None;
        vm.held -= u8::from(!design.has(Flaw::QuotaLeaks));
    }
    (line.asked, line.target, line.count, line.accepted) = (None, None, false, false);
}

fn restore(design: &Design, world: &mut World, at: usize) {
    let vm = &mut world.vms[at];
    if vm.irr != vm.saved_irr {
        world.breach = Some(Breach::LostInSave);
    }
    vm.irr = vm.saved_irr;
    vm.gsis = Default::default();
    vm.held = 0;
    vm.slots.iter_mut().for_each(|slot| slot.entry = None);
    for entry in &mut vm.entries {
        let Line { count, owed, accepted, .. } = entry.line;
        let owed = (owed || count) && !design.has(Flaw::SaveForgetsHeld);
        entry.line = Line { owed, accepted, ..Line::default() };
        (entry.store.masked, entry.store.pair) = (true, None);
    }
    for irte in world.irtes.iter_mut().filter(|irte| irte.owner.is_some_and(|(vm, _)| usize::from(vm) == at))
    {
        irte.owner = None;
    }
    if design.has(Flaw::PairsGivenAgain) {
        world.irtes.iter_mut().for_each(|irte| irte.generation = 0);
    }
}

/// The guest sees that its call has returned.
fn answer(vm: &mut Vm, work: &Work) {
    match work.kind {
        Kind::Attach | Kind::Detach => {
            for entry in &mut vm.entries {
                entry.line.asked = None;
                entry.guest.forget();
            }
            return;
        }
        Kind::Reset => {
            vm.bus_master = true;
            for entry in vm.entries.iter_mut().filter(|entry| entry.guest.handle != Handle::NONE) {
                entry.guest.phase = Phase::Mapped;
            }
            return;
        }
        _ => {}
    }
    let entry = &mut vm.entries[usize::from(work.entry)];
    let slot = entry.line.slot.map(|place| handle(place, vm.slots[usize::from(place)]));
    match work.kind {
        Kind::Map => {
            entry.guest.phase = Phase::Mapped;
            entry.guest.pair = entry.line.started;
            entry.guest.handle = slot.unwrap_or(Handle::NONE);
            entry.guest.parked = work.target.is_none();
            entry.line.asked = work.target;
        }
        Kind::Retarget => {
            entry.guest.parked = work.target.is_none();
            entry.line.asked = work.target;
        }
        Kind::Unmap => {
            entry.guest.forget();
            entry.guest.target = None;
            entry.line.asked = None;
        }
        Kind::TrapUnmask | Kind::TrapMove => {
            entry.guest.phase = Phase::Live;
            entry.line.asked = work.target;
        }
        Kind::TrapMask => {
            entry.guest.phase = Phase::Programmed;
            entry.line.asked = None;
        }
        Kind::Attach | Kind::Detach | Kind::Reset | Kind::CutOff | Kind::Stale | Kind::Save => {}
    }
}

/// The handle of a slot as it is now.
pub(crate) fn handle(place: u8, slot: Slot) -> Handle {
    Handle::new(place.into(), slot.generation.into())
}

/// The world at the beginning.
pub(crate) fn at_first(design: &Design) -> World {
    let mut world = World { left: design.scope.left, ..World::default() };
    let takes_part = |(_, quota): &(&mut Vm, u8)| *quota > 0;
    for (vm, _) in world.vms.iter_mut().zip(design.scope.quotas).filter(takes_part) {
        (vm.attached, vm.bus_master) = (design.scope.attached, true);
        vm.entries.iter_mut().for_each(|entry| entry.store.masked = true);
    }
    world
}

/// Takes one of a kind of choices, if there is one.
pub(crate) fn spend(left: &mut Left, of: impl Fn(&mut Left) -> &mut u8) {
    let count = of(left);
    *count = count.saturating_sub(1);
}
