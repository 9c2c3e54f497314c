//! The stores of an emulated device, and the numbers of its interrupts.

use super::unit::WINDOW;
use pvir_abi::Store;
use std::io;

/// Maximum number of MSI-X entries of a device (PCI Express Base Specification 6.0, section 7.7.2), and of IMS
/// entries.
pub const MAX_VECTORS: u32 = 2048;
/// Maximum number of MSI messages of a device (PCI Express Base Specification 6.0, section 7.7.1).
pub const MAX_MESSAGES: u32 = 32;

/// The optional parts of an MSI capability (PCI Express Base Specification 6.0, section 7.7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MsiForm {
    /// The message address has 64 bits.
    pub wide: bool,
    /// Each message has a mask bit and a pending bit.
    pub maskable: bool,
}

/// The PCI store of an emulated device: it has exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageStore {
    /// An MSI-X table.
    Msix,
    /// An MSI capability.
    Msi(MsiForm),
}

/// The stores of an emulated device. Its interrupts are numbered through: first the MSI-X entries or MSI messages
/// from 0 on, then the IMS entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLayout {
    store: MessageStore,
    vectors: u32,
    ims: u32,
}

impl StoreLayout {
    /// A device with `vectors` messages in `store` and `ims` IMS entries.
    ///
    /// # Errors
    /// `InvalidInput` unless there are 1 to 2048 MSI-X entries, or 1, 2, 4, 8, 16 or 32 MSI messages, and at most 2048
    /// IMS entries.
    pub fn new(store: MessageStore, vectors: u32, ims: u32) -> io::Result<Self> {
        let refused = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        match store {
            MessageStore::Msix if !(1..=MAX_VECTORS).contains(&vectors) => {
                refused(format!("an emulated device has 1 to {MAX_VECTORS} vectors, not {vectors}"))
            }
            MessageStore::Msi(_) if !vectors.is_power_of_two() || vectors > MAX_MESSAGES => {
                refused(format!("MSI has 1, 2, 4, 8, 16 or {MAX_MESSAGES} vectors, not {vectors}"))
            }
            _ if ims > MAX_VECTORS => {
                refused(format!("an emulated device has at most {MAX_VECTORS} IMS entries, not {ims}"))
            }
            _ => Ok(Self { store, vectors, ims }),
        }
    }

    /// The layout of a device with an MSI-X table of `vectors` entries and without IMS.
    ///
    /// # Errors
    /// `InvalidInput` unless `vectors` is 1 to 2048.
    pub fn msix(vectors: u32) -> io::Result<Self> {
        Self::new(MessageStore::Msix, vectors, 0)
    }

    /// The device's PCI store.
    #[must_use]
    pub const fn store(&self) -> MessageStore {
        self.store
    }

    /// Number of MSI-X entries or MSI messages.
    #[must_use]
    pub const fn vectors(&self) -> u32 {
        self.vectors
    }

    /// Number of IMS entries.
    #[must_use]
    pub const fn ims(&self) -> u32 {
        self.ims
    }

    /// Number of MSI-X entries.
    #[must_use]
    pub const fn msix_entries(&self) -> u32 {
        if matches!(self.store, MessageStore::Msix) { self.vectors } else { 0 }
    }

    /// Number of interrupts: MSI-X entries or MSI messages, and IMS entries.
    #[must_use]
    pub const fn interrupts(&self) -> u32 {
        self.vectors + self.ims
    }

    /// Number of handles of the software remapping unit that the device needs.
    #[must_use]
    pub const fn handles(&self) -> u32 {
        match self.store {
            MessageStore::Msix => self.vectors + self.ims,
            MessageStore::Msi(_) => self.ims + WINDOW,
        }
    }

    /// The device's PCI store in the contract's terms.
    #[must_use]
    pub const fn pci_store(&self) -> Store {
        if matches!(self.store, MessageStore::Msix) { Store::MSIX } else { Store::MSI }
    }

    /// The number of the interrupt of entry `index` of `store`, or of message `index` where the store is MSI. `None`
    /// if the device has no such entry.
    #[must_use]
    pub fn number(&self, store: Store, index: u32) -> Option<u32> {
        if store == self.pci_store() {
            (index < self.vectors).then_some(index)
        } else if store == Store::IMS {
            (index < self.ims).then(|| self.vectors + index)
        } else {
            None
        }
    }

    /// The store and index of interrupt `number`; `None` if the device has fewer interrupts.
    #[must_use]
    pub fn entry(&self, number: u32) -> Option<(Store, u32)> {
        if number < self.vectors {
            Some((self.pci_store(), number))
        } else {
            (number < self.interrupts()).then(|| (Store::IMS, number - self.vectors))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSI: MessageStore = MessageStore::Msi(MsiForm { wide: true, maskable: false });

    #[test]
    fn numbers_run_through_both_stores() {
        let layout = StoreLayout::new(MessageStore::Msix, 3, 2).unwrap();
        let entries: Vec<_> = (0..6).map(|number| layout.entry(number)).collect();
        let (x, i) = (Store::MSIX, Store::IMS);
        assert_eq!(entries, [Some((x, 0)), Some((x, 1)), Some((x, 2)), Some((i, 0)), Some((i, 1)), None]);
        for number in 0..5 {
            let (store, index) = layout.entry(number).unwrap();
            assert_eq!(layout.number(store, index), Some(number));
        }
        assert_eq!(
            (layout.number(x, 3), layout.number(i, 2), layout.number(Store::MSI, 0)),
            (None, None, None)
        );
    }

    #[test]
    fn sizes_are_those_of_the_specification() {
        for (store, vectors, ims) in [
            (MessageStore::Msix, 0, 0),
            (MessageStore::Msix, 2049, 0),
            (MessageStore::Msix, 1, 2049),
            (MSI, 0, 0),
            (MSI, 3, 0),
            (MSI, 64, 0),
        ] {
            let error = StoreLayout::new(store, vectors, ims).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{store:?} {vectors} {ims}");
        }
        assert_eq!(StoreLayout::new(MessageStore::Msix, 2048, 2048).unwrap().handles(), 4096);
        assert_eq!(StoreLayout::new(MSI, 32, 8).unwrap().interrupts(), 40);
    }
}
