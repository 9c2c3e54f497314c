//! An entry in one of two kinds of store.

use crate::{Mask, Origin, StoreEntry};
use pvir_abi::Pair;

/// An entry in one of two kinds of store, for a driver that has both: its devices have MSI-X or MSI, or its queues keep
/// their messages in the table or elsewhere. For three kinds one of the two is again an `EitherStore`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EitherStore<A, B> {
    /// An entry in the first kind of store.
    First(A),
    /// An entry in the second kind of store.
    Second(B),
}

impl<A: StoreEntry, B: StoreEntry> EitherStore<A, B> {
    fn store(&self) -> &dyn StoreEntry {
        match self {
            Self::First(store) => store,
            Self::Second(store) => store,
        }
    }
}

impl<A: StoreEntry, B: StoreEntry> StoreEntry for EitherStore<A, B> {
    fn origin(&self) -> Origin {
        self.store().origin()
    }

    fn write(&mut self, pair: Pair) {
        match self {
            Self::First(store) => store.write(pair),
            Self::Second(store) => store.write(pair),
        }
    }

    fn read(&self) -> Pair {
        self.store().read()
    }

    fn set_mask(&self, mask: Mask) {
        self.store().set_mask(mask);
    }

    fn mask(&self) -> Option<Mask> {
        self.store().mask()
    }

    fn is_pending(&self) -> Option<bool> {
        self.store().is_pending()
    }
}
