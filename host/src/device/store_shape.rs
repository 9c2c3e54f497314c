//! Which store of a device is emulated by trapping.

use super::Capabilities;
use crate::pci::MsiShape;
use pvir_abi::Store;

/// What there is to emulate of a device: one store, because MSI and MSI-X are never enabled at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreShape {
    /// Nothing.
    None,
    /// An MSI-X table of so many entries, 1 to 2048.
    Msix(u32),
    /// The MSI capability.
    Msi(MsiShape),
}

impl StoreShape {
    /// As a device's capabilities have it: MSI-X where there is one, otherwise a plain MSI.
    #[must_use]
    pub fn of(capabilities: &Capabilities) -> Self {
        let messages = capabilities.entries(Store::MSI).map(|_| capabilities.msi_messages);
        match (capabilities.entries(Store::MSIX), messages) {
            (Some(entries @ 1..=2048), _) => Self::Msix(entries),
            (_, Some(messages @ 1..=32)) => {
                let messages_log2 = messages.ilog2().to_le_bytes()[0];
                Self::Msi(MsiShape { wide: true, maskable: false, messages_log2 })
            }
            _ => Self::None,
        }
    }
}
