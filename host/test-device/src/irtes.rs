//! The IRTEs of a device come and go.

use super::model::DeviceModel;
use super::state::StoreOwner;
use pvir_abi::Store;
use pvir_host::emulation::MAX_MESSAGES;
use pvir_host::eventfd::EventFd;
use std::io;

impl DeviceModel {
    pub(crate) fn start(&self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        let last =
            u32::try_from(eventfds.len()).ok().and_then(|count| first.checked_add(count.checked_sub(1)?));
        if last.and_then(|last| self.layout().number(store, last)).is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // All duplicates before any IRTE: all or none.
        let duplicates = eventfds.iter().map(|eventfd| eventfd.try_clone()).collect::<io::Result<_>>()?;
        let mut state = self.state();
        state.unit.set(store, first, duplicates);
        if state.is_trapped(store) {
            (first..).zip(eventfds).for_each(|(index, _)| self.send_held(&mut state, store, index));
        }
        Ok(())
    }

    /// Changes who programs the device. What was held for the one before is forgotten.
    pub(crate) fn set_owner(&self, owner: StoreOwner) {
        let mut state = self.state();
        state.owner = owner;
        for (store, entries) in [(Store::MSIX, self.layout().msix_entries()), (Store::MSI, MAX_MESSAGES)] {
            for index in 0..entries {
                self.forget(&mut state, store, index);
            }
        }
    }

    /// Masks and clears under the lock of [`DeviceModel::raise`]: when it returns nothing more is sent.
    pub(crate) fn stop(&self, store: Store, first: u32, count: u32) -> io::Result<()> {
        let mut state = self.state();
        for index in first..first.saturating_add(count) {
            self.layout().number(store, index).ok_or(io::ErrorKind::InvalidInput)?;
            if let (Some(table), Store::MSIX, false) = (self.table(), store, state.is_trapped(store)) {
                table.mask(index)?;
            }
            state.unit.clear(store, index);
            self.forget(&mut state, store, index);
        }
        Ok(())
    }
}
