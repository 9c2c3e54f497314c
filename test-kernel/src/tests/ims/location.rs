//! Where an IMS entry's message is kept.

use crate::machine::devices::ImsLocation;
use pvir_guest::abi::Pair;
use pvir_guest::{Mask, MsixEntry, Origin, StoreEntry};

/// A place for a message.
#[derive(Debug)]
pub(super) enum MessageLocation<'t> {
    /// One of the device's own.
    Own(ImsLocation),
    /// An entry of the MSI-X table that has no interrupt of its own: to the host a place like any other.
    InTable(MsixEntry<'t>, Origin),
}

impl MessageLocation<'_> {
    fn store(&self) -> &dyn StoreEntry {
        match self {
            Self::Own(place) => place,
            Self::InTable(entry, _) => entry,
        }
    }

    fn store_mut(&mut self) -> &mut dyn StoreEntry {
        match self {
            Self::Own(place) => place,
            Self::InTable(entry, _) => entry,
        }
    }
}

impl StoreEntry for MessageLocation<'_> {
    fn origin(&self) -> Origin {
        match self {
            Self::Own(place) => place.origin(),
            Self::InTable(_, origin) => *origin,
        }
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
