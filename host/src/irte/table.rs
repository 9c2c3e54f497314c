//! The IRTEs of a VM by handle: slots with generations.

use super::Irte;
use pvir_abi::Handle;

/// All IRTEs of a VM, by handle. A handle is a slot and the generation of its IRTE, so a handle of an IRTE that was
/// given back never names a later one.
#[derive(Debug, Default)]
pub struct IrteTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    /// The generation of the IRTE that is, or will be, in the slot. Never 0.
    generation: u32,
    irte: Option<Irte>,
}

impl IrteTable {
    /// Makes room for `more` IRTEs, so that inserting these does not allocate.
    pub fn reserve(&mut self, more: usize) {
        self.slots.reserve(more.saturating_sub(self.free.len()));
    }

    /// Inserts `irte` and gives its handle, which no IRTE had before (until a slot has used its 2^32 generations).
    pub fn insert(&mut self, irte: Irte) -> Handle {
        let handle = self.reserve_handle();
        self.put(handle, irte);
        handle
    }

    /// A handle that was never given before, for an IRTE that is still to be made: [`put`](Self::put) it, or
    /// [`give_back`](Self::give_back) the handle.
    #[inline]
    pub fn reserve_handle(&mut self) -> Handle {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 1, irte: None });
            // GSIs bound the number of IRTEs to a few thousand.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        Handle::new(slot, self.slots[slot as usize].generation)
    }

    /// Puts an IRTE under the handle that was reserved for it.
    #[inline]
    pub fn put(&mut self, handle: Handle, irte: Irte) {
        if let Some(slot) = self.slot_mut(handle) {
            slot.irte = Some(irte);
        }
    }

    /// Gives a handle back under which nothing was put. It is stale from now on.
    pub fn give_back(&mut self, handle: Handle) {
        if let Some(slot) = self.slot_mut(handle).filter(|slot| slot.irte.is_none()) {
            slot.generation = following(slot.generation);
            self.free.push(handle.slot());
        }
    }

    #[inline]
    fn slot_mut(&mut self, handle: Handle) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(handle.slot() as usize)?;
        (slot.generation == handle.generation()).then_some(slot)
    }

    /// Removes and gives the IRTE of `handle`; `None` if the handle names none. The handle is stale from now on.
    pub fn remove(&mut self, handle: Handle) -> Option<Irte> {
        let irte = self.slot_mut(handle)?.irte.take()?;
        self.give_back(handle);
        Some(irte)
    }

    /// The IRTE that `handle` names, or `None` if the handle is stale or was never given.
    #[must_use]
    #[inline]
    pub fn get(&self, handle: Handle) -> Option<&Irte> {
        let slot = self.slots.get(handle.slot() as usize)?;
        slot.irte.as_ref().filter(|_| slot.generation == handle.generation())
    }

    /// The IRTE that `handle` names, to be changed; `None` if the handle is stale or was never given.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut Irte> {
        self.slot_mut(handle)?.irte.as_mut()
    }

    /// For each slot, the generation that its next IRTE gets: an IRTE that is in it counts as given back.
    #[must_use]
    pub fn generations(&self) -> Vec<u32> {
        let next = |slot: &Slot| match slot.irte {
            Some(_) => following(slot.generation),
            None => slot.generation,
        };
        self.slots.iter().map(next).collect()
    }

    /// A table without IRTEs that goes on where another one had these [`generations`](Self::generations): it gives none of
    /// the handles that the other one has given. No generation is 0.
    #[must_use]
    pub fn with_generations(generations: &[u32]) -> Self {
        let slot = |generation: &u32| Slot { generation: (*generation).max(1), irte: None };
        let slots: Vec<Slot> = generations.iter().map(slot).collect();
        // The lowest is given first.
        let free = (0..u32::try_from(slots.len()).unwrap_or(u32::MAX)).rev().collect();
        Self { slots, free }
    }

    /// Every IRTE, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Irte> {
        self.slots.iter_mut().filter_map(|slot| slot.irte.as_mut())
    }

    /// Every IRTE with its handle.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &Irte)> {
        (0u32..).zip(&self.slots).filter_map(|(slot, entry)| {
            entry.irte.as_ref().map(|irte| (Handle::new(slot, entry.generation), irte))
        })
    }
}

/// The generation after this one. It skips 0, with which a handle could be 0.
fn following(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irte::Origin;
    use crate::line::{Line, Lines};
    use pvir_abi::{DeviceId, Pair, Store};

    fn irte(index: u32) -> Irte {
        Irte {
            origin: Origin { device: DeviceId::default(), store: Store::MSIX, index },
            lines: Lines::One(Line::new().unwrap()),
            target: None,
            pair: Pair::default(),
        }
    }

    #[test]
    fn a_handle_is_never_zero_and_dies_with_its_irte() {
        let mut table = IrteTable::default();
        let first = table.insert(irte(7));
        assert_ne!(first, Handle::NONE);
        assert_eq!(table.get(first).unwrap().origin.index, 7);
        assert!(table.remove(first).is_some());
        assert!(table.get(first).is_none());
        assert!(table.remove(first).is_none());
    }

    #[test]
    fn a_slot_used_again_has_a_new_handle() {
        let mut table = IrteTable::default();
        let first = table.insert(irte(1));
        table.remove(first);
        let second = table.insert(irte(2));
        assert_eq!(first.slot(), second.slot());
        assert_ne!(first, second);
        assert!(table.get(first).is_none() && table.get_mut(first).is_none());
        assert_eq!(
            table.iter().map(|(handle, irte)| (handle, irte.origin.index)).collect::<Vec<_>>(),
            [(second, 2)]
        );
    }

    #[test]
    fn the_generation_skips_zero_when_it_wraps() {
        let mut table = IrteTable::default();
        let first = table.insert(irte(1));
        table.slots[0].generation = u32::MAX;
        assert!(table.remove(Handle::new(first.slot(), u32::MAX)).is_some());
        assert_eq!(table.insert(irte(1)), Handle::new(0, 1));
    }

    #[test]
    fn a_table_that_goes_on_gives_no_handle_again() {
        let mut before = IrteTable::default();
        let given: Vec<Handle> = (0..4).map(|index| before.insert(irte(index))).collect();
        before.remove(given[1]);
        let again = before.insert(irte(1));
        before.remove(given[2]);
        let mut after = IrteTable::with_generations(&before.generations());
        assert!(after.iter().next().is_none() && given.iter().all(|handle| after.get(*handle).is_none()));
        let later: Vec<Handle> = (0..5).map(|index| after.insert(irte(index))).collect();
        assert!(later.iter().all(|handle| !given.contains(handle) && *handle != again), "{later:?}");
        assert_eq!(later.iter().map(|handle| handle.slot()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn handles_that_were_never_given_name_nothing() {
        let mut table = IrteTable::default();
        table.insert(irte(1));
        for handle in [Handle(0), Handle(1), Handle(u64::MAX), Handle::new(1, 1), Handle::new(0, 2)] {
            assert!(table.get(handle).is_none() && table.remove(handle).is_none(), "{handle:?}");
        }
    }
}
