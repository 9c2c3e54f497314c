//! A place for a message that is neither an MSI-X entry nor an MSI capability.

use super::emulated::Doorbell;
use super::igb::HeadWriteBack;
use pvir_guest::abi::Pair;
use pvir_guest::{Mask, Origin, StoreEntry};

/// Any of the places known here. A driver with another kind adds it.
#[derive(Debug)]
pub(crate) enum ImsLocation {
    HeadWriteBack(HeadWriteBack),
    Emulated(Doorbell),
}

impl ImsLocation {
    fn store(&self) -> &dyn StoreEntry {
        match self {
            Self::HeadWriteBack(place) => place,
            Self::Emulated(place) => place,
        }
    }

    fn store_mut(&mut self) -> &mut dyn StoreEntry {
        match self {
            Self::HeadWriteBack(place) => place,
            Self::Emulated(place) => place,
        }
    }
}

impl StoreEntry for ImsLocation {
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
