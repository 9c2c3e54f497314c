//! The way of a message: from the device through the remapping unit, eventfd and KVM to a local APIC.

use crate::design::{Design, Flaw};
use crate::world::{Breach, Irte, Kind, Pair, Queue, Target, Work, World};

/// `VFIO_DEVICE_SET_IRQS`: an IRTE for the entry. The kernel writes the pair, and unmasks.
pub(crate) fn start(design: &Design, world: &mut World, at: usize, entry: u8) {
    let Some(irte) = world.irtes.iter().position(|irte| irte.owner.is_none()) else { return };
    let generation = world.irtes[irte].generation + u8::from(design.scope.emulated);
    world.irtes[irte] = Irte { owner: Some((at as u8, entry)), generation };
    let pair = Pair { irte: irte as u8, generation };
    let entry = &mut world.vms[at].entries[usize::from(entry)];
    entry.line.started = Some(pair);
    (entry.store.pair, entry.store.masked) = (Some(pair), false);
}

/// The same with -1: the IRTE is cleared, and the entry masked. What is on its way with the pair is blocked: the remapping
/// unit drains what it has when its cache is invalidated (Intel VT-d Specification, Rev. 5.10, 6.5.5 "Interrupt Draining").
pub(crate) fn stop(design: &Design, world: &mut World, at: usize, entry: u8) {
    let entry = &mut world.vms[at].entries[usize::from(entry)];
    let Some(pair) = entry.line.started.take() else { return };
    (entry.store.pair, entry.store.masked) = (None, true);
    entry.store.wire = entry.store.wire.filter(|wire| *wire != pair);
    if !design.has(Flaw::StopLeavesIrte) {
        world.irtes[usize::from(pair.irte)].owner = None;
    }
}

/// Whether the entry sends what it has pending.
pub(crate) fn can_send(world: &World, at: usize, entry: usize) -> bool {
    let vm = &world.vms[at];
    let store = &vm.entries[entry].store;
    store.pending
        && !store.masked
        && store.wire.is_none()
        && store.pair.is_some()
        && vm.bus_master
        && !vm.paused
}

/// The entry sends its message.
pub(crate) fn send(world: &mut World, at: usize, entry: usize) {
    let store = &mut world.vms[at].entries[entry].store;
    store.pending = false;
    store.wire = store.pair;
}

/// A message arrives at the remapping unit.
pub(crate) fn arrive(design: &Design, world: &mut World, at: usize, sender: usize) {
    let Some(pair) = world.vms[at].entries[sender].store.wire.take() else { return };
    let Irte { owner, generation } = world.irtes[usize::from(pair.irte)];
    let Some((vm, entry)) = owner.filter(|_| generation == pair.generation) else { return };
    if usize::from(vm) != at {
        if design.has(Flaw::SourceUnverified) {
            world.breach = Some(Breach::Foreign);
        }
        return;
    }
    let owner = &mut world.vms[at];
    match owner.irqfd_of(entry).map(|gsi| owner.gsis[gsi].route) {
        None => {
            let line = &mut owner.entries[usize::from(entry)].line;
            (line.count, line.accepted) = (true, true);
        }
        Some(None) => world.breach = Some(Breach::NoRoute),
        Some(Some(target)) => {
            // An old pair may be another entry's of the same device, once its IRTE is given again (U2). The guest may not
            // know yet that it is old: a spurious interrupt for the other entry (V8).
            let is_old = owner.entries[sender].line.started != Some(pair) && !design.scope.emulated;
            let sender = if is_old { entry } else { sender as u8 };
            inject(world, at, entry, sender, target);
        }
    }
}

/// KVM's queue goes on with a line.
pub(crate) fn work_queue(world: &mut World, at: usize, gsi: usize) {
    let line = world.vms[at].gsis[gsi];
    let (queue, entry) = match (line.queue, line.route, line.irqfd) {
        (Queue::Waiting, Some(route), _) => (Queue::Read(route), None),
        (Queue::Read(target), _, Some(entry)) => (Queue::Empty, Some((entry, target))),
        // Without a route it injects nothing.
        _ => (Queue::Empty, None),
    };
    world.vms[at].gsis[gsi].queue = queue;
    if let Some((entry, target)) = entry {
        let accepted = &mut world.vms[at].entries[usize::from(entry)].line.accepted;
        let had = std::mem::take(accepted);
        inject(world, at, entry, entry, target);
        if !had && world.breach.is_none() {
            world.breach = Some(Breach::Doubled);
        }
    }
}

/// An interrupt for an entry reaches a local APIC. `sender` is the entry whose message it was.
fn inject(world: &mut World, at: usize, entry: u8, sender: u8, target: Target) {
    let vm = &mut world.vms[at];
    vm.irr[usize::from(target)] |= 1 << sender;
    let line = &vm.entries[usize::from(entry)].line;
    let is_call = |work: Work| {
        let asks = matches!(work.kind, Kind::Map | Kind::Retarget | Kind::TrapUnmask | Kind::TrapMove);
        asks && work.entry == entry && work.target == Some(target)
    };
    let is_asked = line.asked == Some(target) || vm.work.is_some_and(is_call);
    world.breach = world.breach.or(match line.asked {
        _ if vm.cut_off && vm.work.is_none() => Some(Breach::CutOff),
        _ if is_asked => None,
        None if line.slot.is_none() => Some(Breach::AfterRelease),
        _ => Some(Breach::Misrouted),
    });
}
