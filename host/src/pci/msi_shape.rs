//! The forms that an MSI capability can have.

/// The form of a device's MSI capability (PCI Express Base Specification 6.0, section 7.7.1 "MSI Capability Structures").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsiShape {
    /// Whether the address has 64 bits.
    pub wide: bool,
    /// Whether there is a mask bit for each message.
    pub maskable: bool,
    /// log2 of the number of messages, 0 to 5.
    pub messages_log2: u8,
}

impl MsiShape {
    /// Offset of the data register from the start of the capability, in bytes.
    #[must_use]
    pub fn data(self) -> u8 {
        if self.wide { 0x0c } else { 0x08 }
    }

    /// Offset of the mask bits from the start of the capability, in bytes. The pending bits follow 4 bytes behind.
    #[must_use]
    pub fn mask(self) -> u8 {
        self.data() + 4
    }

    /// Length of the capability in bytes.
    #[must_use]
    pub fn size(self) -> u8 {
        if self.maskable { self.mask() + 8 } else { self.data() + 2 }
    }

    /// Number of messages, 1 to 32.
    #[must_use]
    pub fn messages(self) -> u32 {
        1 << self.messages_log2.min(5)
    }
}
