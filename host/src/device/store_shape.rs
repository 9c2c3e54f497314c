//! Which store of a device the VMM emulates by trapping.

use super::Capabilities;
use crate::pci::MsiShape;
use pvir_abi::Store;

/// The one store of a device that is emulated. There is at most one, because MSI and MSI-X are never enabled at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreShape {
    /// The device has nothing to emulate.
    None,
    /// An MSI-X table with this number of entries, 1 to 2048.
    Msix(u32),
    /// The MSI capability, of this form.
    Msi(MsiShape),
}

impl StoreShape {
    /// The store to emulate for a device with these capabilities: MSI-X where there is a table, otherwise an MSI
    /// capability with 64-bit address and without mask bits. [`StoreShape::None`] if the device has neither.
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
