//! An entry of any store, so that a test can hold them side by side and ask for them in one batch.

use pvir_guest::abi::Pair;
use pvir_guest::fake::FakeMachine;
use pvir_guest::{ImsSlot, Mask, MsiStore, MsixEntry, Origin, Platform, StoreEntry};

#[derive(Debug)]
pub(crate) enum AnyEntry<'t> {
    Msix(MsixEntry<'t>),
    Ims(ImsSlot<'t>),
    Msi(MsiStore<'t, <FakeMachine as Platform>::Config>),
}

impl AnyEntry<'_> {
    fn store(&self) -> &dyn StoreEntry {
        match self {
            Self::Msix(entry) => entry,
            Self::Ims(slot) => slot,
            Self::Msi(capability) => capability,
        }
    }

    fn store_mut(&mut self) -> &mut dyn StoreEntry {
        match self {
            Self::Msix(entry) => entry,
            Self::Ims(slot) => slot,
            Self::Msi(capability) => capability,
        }
    }
}

impl StoreEntry for AnyEntry<'_> {
    fn origin(&self) -> Origin {
        self.store().origin()
    }

    fn write(&mut self, pair: Pair) {
        self.store_mut().write(pair);
    }

    fn read(&self) -> Pair {
        self.store().read()
    }

    fn set_mask(&mut self, mask: Mask) {
        self.store_mut().set_mask(mask);
    }

    fn mask(&self) -> Option<Mask> {
        self.store().mask()
    }

    fn is_pending(&self) -> Option<bool> {
        self.store().is_pending()
    }
}
