//! Operations: what a call asks for, and which records it carries.

use crate::open_enum::open_enum;

open_enum! {
    /// What a call asks for, in [`Header::operation`](crate::Header::operation) (`docs/abi.md`, "Operations").
    Operation(u16) {
        /// Asks for the host's versions, features and limits; changes nothing. One
        /// [`FeaturesRecord`](crate::FeaturesRecord).
        FEATURES = 1,
        /// Asks the host to let the VM program its devices directly. One [`EnableRecord`](crate::EnableRecord).
        ENABLE = 2,
        /// Gives back everything that the VM holds, and ends what ENABLE began. No record.
        DISABLE = 3,
        /// Asks what the host serves of each device; changes nothing. 1 to 512
        /// [`DeviceRecord`](crate::DeviceRecord)s.
        DEVICE_INFO = 4,
        /// Prepares an IRTE for each entry and answers with its pair. 1 to 512 [`EntryRecord`](crate::EntryRecord)s.
        MAP = 5,
        /// Gives IRTEs a new routing, or parks them; their pairs stay. 1 to 512 [`EntryRecord`](crate::EntryRecord)s.
        RETARGET = 6,
        /// Gives IRTEs back. 1 to 512 [`EntryRecord`](crate::EntryRecord)s.
        UNMAP = 7,
        /// Asks what the host holds for each entry; changes nothing. 1 to 512 [`EntryRecord`](crate::EntryRecord)s.
        QUERY = 8,
        /// Takes devices, each for itself: their tables are mapped into the guest. Known with
        /// [`Features::ATTACH`](crate::Features::ATTACH) only. 1 to 512 [`AttachRecord`](crate::AttachRecord)s.
        ATTACH = 9,
        /// Gives devices back, each for itself, with everything that is mapped of them. Known with
        /// [`Features::ATTACH`](crate::Features::ATTACH) only. 1 to 512 [`AttachRecord`](crate::AttachRecord)s.
        DETACH = 10,
    }
}

impl Operation {
    /// Whether the operation's records are [`EntryRecord`](crate::EntryRecord)s.
    #[must_use]
    pub fn takes_entries(self) -> bool {
        matches!(self, Self::MAP | Self::RETARGET | Self::UNMAP | Self::QUERY)
    }

    /// Whether the operation's records are [`AttachRecord`](crate::AttachRecord)s.
    #[must_use]
    pub fn takes_devices(self) -> bool {
        matches!(self, Self::ATTACH | Self::DETACH)
    }
}
