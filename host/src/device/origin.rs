//! The name of an entry: device, store and index.

use pvir_abi::{DeviceId, EntryRecord, Store};

/// The entry that an interrupt comes from; of a multi-message MSI, its first message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The device, by segment and BDF as the guest sees them.
    pub device: DeviceId,
    /// The store of the device that the entry is in.
    pub store: Store,
    /// The index of the entry in the store.
    pub index: u32,
}

impl Origin {
    /// The entry that a request record names.
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
