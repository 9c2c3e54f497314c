//! One entry of the MSI-X table, as an entry of a store.

use super::memory::Memory;
use crate::claims::Claims;
use crate::{Mask, Origin, StoreEntry};
use pvir_abi::Pair;

/// One entry of an MSI-X table, owned: nobody else writes it. It is masked when this is dropped.
#[derive(Debug)]
pub struct MsixEntry<'t> {
    memory: &'t Memory,
    claims: &'t Claims,
    origin: Origin,
    /// The bits of the control word beside the mask. They do not change while the entry has an owner, so that masking
    /// needs not read them.
    other_bits: u32,
}

impl<'t> MsixEntry<'t> {
    /// The owner of the entry, unless it has one already or does not exist.
    pub(super) fn take(memory: &'t Memory, claims: &'t Claims, origin: Origin) -> Option<Self> {
        let there = origin.index < memory.entries() && claims.take(origin.index);
        there.then(|| Self { memory, claims, origin, other_bits: memory.other_bits(origin.index) })
    }
}

impl StoreEntry for MsixEntry<'_> {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn write(&mut self, pair: Pair) {
        self.memory.write_pair(self.origin.index, pair);
    }

    fn read(&self) -> Pair {
        self.memory.read_pair(self.origin.index)
    }

    fn set_mask(&mut self, mask: Mask) {
        self.memory.set_mask(self.origin.index, mask, self.other_bits);
    }

    fn mask(&self) -> Option<Mask> {
        Some(if self.memory.is_masked(self.origin.index) { Mask::Set } else { Mask::Clear })
    }

    fn is_pending(&self) -> Option<bool> {
        Some(self.memory.is_pending(self.origin.index))
    }
}

impl Drop for MsixEntry<'_> {
    fn drop(&mut self) {
        if self.memory.is_masked(self.origin.index) || self.memory.mask(self.origin.index) {
            self.claims.give(self.origin.index);
        } else {
            // It may still send: nobody else gets it.
            log::error!("pvir: {} does not stay masked; it is not given out again", self.origin);
        }
    }
}
