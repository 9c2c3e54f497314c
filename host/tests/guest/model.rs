//! A second, simple statement of the contract: what the guest holds, and what each request is answered.

use crate::test_vm::APIC_IDS;
use pvir_guest::abi::{Handle, Pair, Status, Store};
use pvir_guest::{BatchMode, Target};
use std::collections::{BTreeMap, BTreeSet};

/// An entry of a function's store: number of the function, store, index.
pub(crate) type Slot = (usize, Store, u32);

/// What the guest requests for an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DesiredIrte {
    pub(crate) slot: Slot,
    /// Number of messages.
    pub(crate) count: u32,
    pub(crate) target: Target,
}

/// An IRTE that the guest holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeldIrte {
    pub(crate) count: u32,
    pub(crate) target: Target,
    /// From MAP to UNMAP, whatever happens in between. `None` while a MAP is only predicted.
    pub(crate) named: Option<(Handle, Pair)>,
    /// Messages that were raised while it was parked.
    pub(crate) raised: BTreeSet<u32>,
}

impl HeldIrte {
    /// Where message `number` goes: APIC id and vector.
    pub(crate) fn route(&self, number: u32) -> Option<(u32, u8)> {
        match self.target {
            Target::Apic(route) => Some((route.destination, route.vector + u8::try_from(number).unwrap())),
            _ => None,
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) held: BTreeMap<Slot, HeldIrte>,
}

impl Model {
    /// The statuses of a MAP, which is carried out here.
    pub(crate) fn map(&mut self, mode: BatchMode, desired: &[DesiredIrte]) -> Vec<Status> {
        self.batch(mode, desired, |model, desired| {
            entry_exists(desired)?;
            target_is_served(desired.target, desired.count)?;
            let DesiredIrte { slot, count, target } = *desired;
            match model.held.get(&slot) {
                Some(held) if (held.count, held.target) == (count, target) => return Ok(()),
                Some(_) => return Err(Status::ALREADY_MAPPED),
                None => {}
            }
            if twin(slot).is_some_and(|twin| model.held.contains_key(&twin)) {
                return Err(Status::BACKING_IN_USE);
            }
            model.held.insert(slot, HeldIrte { count, target, named: None, raised: BTreeSet::new() });
            Ok(())
        })
    }

    /// The statuses of a RETARGET of held entries, which is carried out here.
    pub(crate) fn retarget(&mut self, mode: BatchMode, desired: &[(Slot, Target)]) -> Vec<Status> {
        self.batch(mode, desired, |model, (slot, target)| {
            let held = model.held.get_mut(slot).unwrap();
            target_is_served(*target, held.count)?;
            held.target = *target;
            if *target != Target::Parked {
                held.raised.clear();
            }
            Ok(())
        })
    }

    /// What was held of parked entries in `before` and has a route now.
    pub(crate) fn injected_since(&self, before: &Self) -> Vec<(u32, u8)> {
        let mut injected = Vec::new();
        for (slot, was) in &before.held {
            let now = self.held.get(slot);
            injected.extend(was.raised.iter().filter_map(|number| now?.route(*number)));
        }
        injected.sort_unstable();
        injected
    }

    /// The device raises message `number` of a held entry; what is injected.
    pub(crate) fn raise(&mut self, slot: Slot, number: u32) -> Vec<(u32, u8)> {
        let held = self.held.get_mut(&slot).unwrap();
        let route = held.route(number);
        if route.is_none() {
            held.raised.insert(number);
        }
        route.into_iter().collect()
    }

    /// Every route that the kernel is to have, sorted.
    pub(crate) fn routes(&self) -> Vec<(u32, u8)> {
        let of = |held: &HeldIrte| (0..held.count).filter_map(|n| held.route(n)).collect::<Vec<_>>();
        let mut routes: Vec<_> = self.held.values().flat_map(of).collect();
        routes.sort_unstable();
        routes
    }

    /// The number of messages that the host is to have started.
    pub(crate) fn messages(&self) -> usize {
        self.held.values().map(|held| held.count as usize).sum()
    }

    /// Carries out `one` for each record; in the mode of all or nothing for none of them if one fails.
    fn batch<T>(
        &mut self,
        mode: BatchMode,
        records: &[T],
        one: impl Fn(&mut Self, &T) -> Result<(), Status>,
    ) -> Vec<Status> {
        let before = self.clone();
        let mut statuses: Vec<_> =
            records.iter().map(|record| one(self, record).err().unwrap_or(Status::OK)).collect();
        if mode == BatchMode::AllOrNothing && statuses.iter().any(|status| *status != Status::OK) {
            *self = before;
            for status in statuses.iter_mut().filter(|status| **status == Status::OK) {
                *status = Status::ABORTED;
            }
        }
        statuses
    }
}

/// Against the functions of [`TestVm::new`](crate::test_vm::TestVm::new).
fn entry_exists(desired: &DesiredIrte) -> Result<(), Status> {
    let (function, store, index) = desired.slot;
    let (entries, messages) = match (function, store) {
        (0, Store::MSIX | Store::IMS) => (64, 1),
        (1, Store::MSIX) => (8, 1),
        (1, Store::IMS) => (4, 1),
        (2, Store::MSI) => (1, 8),
        _ => return Err(Status::STORE_UNSUPPORTED),
    };
    if index >= entries {
        Err(Status::BAD_INDEX)
    } else if !desired.count.is_power_of_two() || desired.count > messages {
        Err(Status::BAD_MESSAGE_COUNT)
    } else {
        Ok(())
    }
}

fn target_is_served(target: Target, count: u32) -> Result<(), Status> {
    let Target::Apic(route) = target else { return Ok(()) };
    if route.vector < 32 || u32::from(route.vector) % count != 0 {
        Err(Status::BAD_VECTOR)
    } else if route.destination == u32::MAX {
        Err(Status::BROADCAST)
    } else if APIC_IDS.contains(&route.destination) {
        Ok(())
    } else {
        Err(Status::BAD_DESTINATION)
    }
}

/// The other entry with the same interrupt, where IMS is made of MSI-X entries (statement M11).
fn twin((function, store, index): Slot) -> Option<Slot> {
    let other = match store {
        Store::MSIX => Store::IMS,
        _ => Store::MSIX,
    };
    (function == 0).then(|| (function, other, 63 - index))
}
