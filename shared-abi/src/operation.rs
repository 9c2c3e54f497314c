//! Operations: what a call asks for.

use crate::open_enum::open_enum;

open_enum! {
    /// The operation field of the header (`docs/abi.md`, "Operations").
    Operation(u16) {
        /// Versions, features and limits; changes nothing. One [`FeaturesRecord`](crate::FeaturesRecord).
        FEATURES = 1,
        /// Asks, for the whole VM, to program devices directly. One [`EnableRecord`](crate::EnableRecord).
        ENABLE = 2,
        /// Gives everything back. No record.
        DISABLE = 3,
        /// What a device can do. 1 to 512 [`DeviceRecord`](crate::DeviceRecord)s.
        DEVICE_INFO = 4,
        /// Prepares IRTEs and answers with their pairs. 1 to 512 [`EntryRecord`](crate::EntryRecord) records.
        MAP = 5,
        /// Moves, parks or un-parks IRTEs; pairs stay. 1 to 512 [`EntryRecord`](crate::EntryRecord) records.
        RETARGET = 6,
        /// Gives IRTEs back. 1 to 512 [`EntryRecord`](crate::EntryRecord) records.
        UNMAP = 7,
        /// What the host holds for an entry. 1 to 512 [`EntryRecord`](crate::EntryRecord) records.
        QUERY = 8,
    }
}

impl Operation {
    /// Whether the operation's records are [`EntryRecord`](crate::EntryRecord)s.
    #[must_use]
    pub fn takes_entries(self) -> bool {
        matches!(self, Self::MAP | Self::RETARGET | Self::UNMAP | Self::QUERY)
    }
}
