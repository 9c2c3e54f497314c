//! How tests make fake devices.

use super::super::SharedPlatform;
use super::FakeDevice;
use crate::device::Capabilities;
use pvir_abi::{DeviceFlags, Refusal, Stores};

impl FakeDevice {
    /// Device `number` of `platform`, with an MSI-X table of `msix_entries` and nothing else.
    #[must_use]
    pub fn new(platform: SharedPlatform, number: u32, msix_entries: u32) -> Self {
        let capabilities = Capabilities {
            stores: Stores::MSIX,
            flags: DeviceFlags::DIRECT | DeviceFlags::DYNAMIC,
            msix_entries,
            ..Capabilities::default()
        };
        Self { number, platform, capabilities, refusal: Refusal::NONE, backed: false, odd_pairs: false }
    }

    /// Device `number` of `platform`, with an MSI capability of `messages` and nothing else.
    #[must_use]
    pub fn with_msi(platform: SharedPlatform, number: u32, messages: u32) -> Self {
        let capabilities =
            Capabilities { stores: Stores::MSI, msi_messages: messages, ..Capabilities::default() };
        Self::new(platform, number, 0).with_capabilities(capabilities)
    }

    /// The same device with IMS entries of its own, as an emulated one has them.
    #[must_use]
    pub fn with_own_ims(mut self, entries: u32) -> Self {
        self.capabilities.stores |= Stores::IMS;
        self.capabilities.ims_entries = entries;
        self
    }

    /// The same device with IMS entries that are made of its MSI-X entries, as one of VFIO has them.
    #[must_use]
    pub fn with_backed_ims(self) -> Self {
        let entries = self.capabilities.msix_entries;
        Self { backed: true, ..self.with_own_ims(entries) }
    }

    /// The same device with other capabilities.
    #[must_use]
    pub fn with_capabilities(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// The same device, not isolated for this reason.
    #[must_use]
    pub fn not_isolated(self, refusal: Refusal) -> Self {
        Self { refusal, ..self }
    }

    /// The same device with pairs that several messages cannot share.
    #[must_use]
    pub fn with_odd_pairs(self) -> Self {
        Self { odd_pairs: true, ..self }
    }
}
