//! Constructors of fake devices.

use super::super::SharedPlatform;
use super::FakeDevice;
use crate::device::Capabilities;
use pvir_abi::{DeviceFlags, Refusal, Stores};

impl FakeDevice {
    /// Device number `number` of `platform`, with an MSI-X table of `msix_entries` entries and no other store.
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

    /// Device number `number` of `platform`, with an MSI capability of `messages` messages and no other store.
    #[must_use]
    pub fn with_msi(platform: SharedPlatform, number: u32, messages: u32) -> Self {
        let capabilities =
            Capabilities { stores: Stores::MSI, msi_messages: messages, ..Capabilities::default() };
        Self::new(platform, number, 0).with_capabilities(capabilities)
    }

    /// Adds `entries` IMS entries with interrupts of their own, as an emulated device has them.
    #[must_use]
    pub fn with_own_ims(mut self, entries: u32) -> Self {
        self.capabilities.stores |= Stores::IMS;
        self.capabilities.ims_entries = entries;
        self
    }

    /// Adds one IMS entry for each MSI-X entry, made of these entries, as a VFIO device has them.
    #[must_use]
    pub fn with_backed_ims(self) -> Self {
        let entries = self.capabilities.msix_entries;
        Self { backed: true, ..self.with_own_ims(entries) }
    }

    /// Makes it a device that the VMM emulates: one that can be saved.
    #[must_use]
    pub fn emulated(mut self) -> Self {
        self.capabilities.flags |= DeviceFlags::EMULATED;
        self
    }

    /// Replaces the device's capabilities.
    #[must_use]
    pub fn with_capabilities(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// Makes the device report that it is not isolated, for the reason `refusal`.
    #[must_use]
    pub fn not_isolated(self, refusal: Refusal) -> Self {
        Self { refusal, ..self }
    }

    /// Gives the device pairs whose data is not aligned, as a multi-message MSI would need it.
    #[must_use]
    pub fn with_odd_pairs(self) -> Self {
        Self { odd_pairs: true, ..self }
    }
}
