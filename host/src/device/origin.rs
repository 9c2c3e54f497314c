//! The name of an entry.

use pvir_abi::{DeviceId, EntryRecord, Store};

/// The entry that an interrupt comes from; of several messages, the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The device, as the guest sees it.
    pub device: DeviceId,
    /// The store.
    pub store: Store,
    /// The index in the store.
    pub index: u32,
}

impl Origin {
    /// The origin that a record names.
    #[must_use]
    pub fn of(entry: &EntryRecord) -> Self {
        Self { device: entry.device, store: entry.store, index: entry.index }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}[{}]", self.device, self.store, self.index)
    }
}
