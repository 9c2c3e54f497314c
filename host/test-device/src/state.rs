//! What the guest and the service have set, all under one lock.

use super::ims::ImsArray;
use super::msi::DeviceMsi;
use pvir_abi::{Pair, Store};

use pvir_host::emulation::{SharedTable, SoftwareUnit, StoreLayout, TableEntry};
use pvir_host::eventfd::EventFd;
use pvir_host::memory::GuestRam;

/// Who programs the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreOwner {
    /// Nobody yet: nothing is remapped and every message is blocked.
    Nobody,
    /// The guest.
    Guest,
    /// The VMM emulates this store.
    Vmm(Store),
}

#[derive(Debug)]
pub(crate) struct DeviceState {
    pub(crate) unit: SoftwareUnit,
    pub(crate) owner: StoreOwner,
    pub(crate) bus_master: bool,
    /// Whether the VM is stopped: nothing that was held is sent.
    pub(crate) paused: bool,
    pub(crate) msi: DeviceMsi,
    pub(crate) ims: ImsArray,
    pub(crate) sequences: u64,
}

impl DeviceState {
    pub(crate) fn new(layout: StoreLayout, first_handle: u32) -> Self {
        Self {
            unit: SoftwareUnit::new(layout, first_handle),
            owner: StoreOwner::Nobody,
            bus_master: false,
            paused: false,
            msi: DeviceMsi::default(),
            ims: ImsArray::default(),
            sequences: 0,
        }
    }

    /// What the guest has set, as at the start.
    pub(crate) fn reset(&mut self) {
        self.bus_master = false;
        self.msi = DeviceMsi::default();
        self.ims = ImsArray::default();
        self.sequences = 0;
    }

    pub(crate) fn is_trapped(&self, store: Store) -> bool {
        self.owner == StoreOwner::Vmm(store)
    }

    /// What stands in an entry at this moment.
    pub(crate) fn entry(
        &self,
        table: Option<&SharedTable>,
        ram: &dyn GuestRam,
        store: Store,
        index: u32,
    ) -> Option<TableEntry> {
        match store {
            Store::MSIX => table?.entry(index).ok(),
            Store::MSI => self.msi.entry(index),
            _ if self.bus_master => self.ims.entry(ram, index),
            _ => None,
        }
    }

    /// What a message signals, if the device may send it and the unit lets it through.
    pub(crate) fn remap(&self, message: Pair) -> Option<&EventFd> {
        if !self.bus_master || self.owner != StoreOwner::Guest {
            return None;
        }
        self.unit.remap(message).ok()
    }
}
