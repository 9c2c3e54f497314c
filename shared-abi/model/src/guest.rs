//! What a guest's kernel and its driver do that keep the contract.

use crate::design::{Design, Flaw};
use crate::host;
use crate::world::{Entry, Guest, Kind, Phase, Target, Vm, World};
use pvir_abi::{Handle, Status};

impl Guest {
    /// What was mapped is not any more. The handlers stay, and so does the wish where to have the interrupt.
    pub(crate) fn forget(&mut self) {
        if self.handle != Handle::NONE {
            self.old = self.handle;
        }
        (self.phase, self.handle, self.pair, self.parked) = (Phase::Idle, Handle::NONE, None, false);
    }

    /// Puts a handler in place, and notes where the interrupt is to go.
    pub(crate) fn aim(&mut self, target: Target) {
        self.handlers |= 1 << target;
        self.target = Some(target);
    }
}

impl Vm {
    /// Where an entry may have its interrupt: where it had it, or wherever there is no handler of another one.
    pub(crate) fn places(&self, design: &Design, entry: usize) -> impl Iterator<Item = Target> {
        let others = (0..).zip(&self.entries).filter(move |(number, _)| *number != entry);
        let taken = others.fold(0, |bits, (_, other): (usize, &Entry)| bits | other.guest.handlers);
        let chosen = self.entries[entry].guest.target;
        (0..design.scope.targets).filter(move |place| match chosen {
            Some(chosen) => *place == chosen,
            None => taken >> place & 1 == 0,
        })
    }

    /// Whether the guest may take a handler away: nothing is left pending for it, and no call is about it.
    pub(crate) fn is_drained(&self, design: &Design, entry: usize, at: Target) -> bool {
        let guest = &self.entries[entry].guest;
        let pending = self.irr[usize::from(at)] >> entry & 1 != 0 && !design.has(Flaw::DrainsNothing);
        guest.handlers >> at & 1 != 0
            && guest.target != Some(at)
            && !pending
            && self.work.is_none_or(|work| usize::from(work.entry) != entry)
    }

    /// Whether the guest may write an entry of the table that it has: no call of its own is about it. Of what the host does
    /// by itself it knows nothing.
    pub(crate) fn may_write(&self, entry: usize) -> bool {
        self.work.is_none_or(|work| match work.kind {
            Kind::Map | Kind::Unmap => usize::from(work.entry) != entry,
            Kind::Attach | Kind::Detach | Kind::Reset => false,
            _ => true,
        })
    }

    /// Whether the epoch has changed, and a call can tell what that means.
    pub(crate) fn may_notice(&self, design: &Design) -> bool {
        let at_event = self.work.is_some_and(|work| work.kind == Kind::Stale);
        self.epoch != self.seen && (self.work.is_none() || (design.has(Flaw::EpochFirst) && at_event))
    }

    /// The answer to a QUERY of an entry.
    fn query(&self, entry: &Entry) -> Status {
        let slot = entry.guest.handle.slot() as usize;
        let lives = |slot: &crate::world::Slot| {
            slot.entry.is_some() && u32::from(slot.generation) == entry.guest.handle.generation()
        };
        match self.slots.get(slot).is_some_and(lives) {
            true => Status::OK,
            false => Status::STALE_HANDLE,
        }
    }
}

/// A vCPU takes an interrupt: the handlers of its vector run.
pub(crate) fn take(world: &mut World, vm: usize, target: Target, is_judged: bool) {
    let vm = &mut world.vms[vm];
    let sources = std::mem::take(&mut vm.irr[usize::from(target)]);
    let sent = |(number, _): &(usize, &mut Entry)| sources >> number & 1 != 0;
    for (_, entry) in vm.entries.iter_mut().enumerate().filter(sent) {
        if entry.guest.handlers >> target & 1 != 0 || !is_judged {
            entry.store.cause = false;
        } else {
            world.breach = world.breach.or(Some(crate::world::Breach::NoHandler));
        }
    }
}

/// The guest has seen another epoch, and asks what it means for its device.
pub(crate) fn notice(design: &Design, world: &mut World, at: usize) {
    let vm = &mut world.vms[at];
    let mapped = |entry: &Entry| entry.guest.handle != Handle::NONE;
    // What MAP would say, too.
    if vm.cut_off {
        host::begin(world, at, Kind::Reset, 0, None);
        return;
    }
    // What was mapped since is alive, and is told so.
    let is_stale = |entry: &Entry| mapped(entry) && vm.query(entry) == Status::STALE_HANDLE;
    let stale = vm.entries_where(is_stale);
    for (_, entry) in vm.entries.iter_mut().enumerate().filter(|(number, _)| stale >> number & 1 != 0) {
        entry.store.masked = true;
        entry.guest.forget();
        entry.guest.soft = !design.has(Flaw::RaisesNothing);
    }
    vm.seen = vm.epoch;
}
