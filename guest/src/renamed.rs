//! An entry under another name.

use crate::{Mask, Origin, StoreEntry};
use pvir_abi::Pair;

/// An entry of a store that keeps the message of another origin: an IMS entry whose message lies in a spare entry of the
/// MSI-X table, for instance. To the host a place is like any other (statement M8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renamed<T> {
    store: T,
    origin: Origin,
}

impl<T: StoreEntry> Renamed<T> {
    /// The entry `store`, for the message of `origin`.
    #[must_use]
    pub const fn new(store: T, origin: Origin) -> Self {
        Self { store, origin }
    }
}

impl<T: StoreEntry> StoreEntry for Renamed<T> {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn write(&mut self, pair: Pair) {
        self.store.write(pair);
    }

    fn read(&self) -> Pair {
        self.store.read()
    }

    fn set_mask(&self, mask: Mask) {
        self.store.set_mask(mask);
    }

    fn mask(&self) -> Option<Mask> {
        self.store.mask()
    }

    fn is_pending(&self) -> Option<bool> {
        self.store.is_pending()
    }
}
