//! What the guest and the service have set, all under one lock.

use super::ims::Ims;
use super::msi::Msi;
use super::shape::Shape;
use super::table::{SharedTable, TableEntry};
use super::unit::Unit;
use crate::memory::GuestRam;
use pvir_abi::{Pair, Store};
use vmm_sys_util::eventfd::EventFd;

/// Who programs the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Nobody yet: nothing is remapped and every message is blocked.
    Closed,
    /// The guest.
    Open,
    /// The VMM emulates this store.
    Trapped(Store),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) unit: Unit,
    pub(super) mode: Mode,
    pub(super) bus_master: bool,
    pub(super) msi: Msi,
    pub(super) ims: Ims,
    pub(super) sequences: u64,
}

impl State {
    pub(super) fn new(shape: Shape, first_handle: u32) -> Self {
        Self {
            unit: Unit::new(shape, first_handle),
            mode: Mode::Closed,
            bus_master: false,
            msi: Msi::default(),
            ims: Ims::default(),
            sequences: 0,
        }
    }

    pub(super) fn is_trapped(&self, store: Store) -> bool {
        self.mode == Mode::Trapped(store)
    }

    /// What stands in an entry at this moment.
    pub(super) fn entry(
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
    pub(super) fn remap(&self, message: Pair) -> Option<&EventFd> {
        if !self.bus_master || self.mode != Mode::Open {
            return None;
        }
        self.unit.remap(message).ok()
    }
}
