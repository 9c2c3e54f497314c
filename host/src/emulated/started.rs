//! The IRTEs of a device come and go.

use super::core::Core;
use pvir_abi::Store;
use std::io;
use vmm_sys_util::eventfd::EventFd;

impl Core {
    pub(super) fn start(&self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        let last =
            u32::try_from(eventfds.len()).ok().and_then(|count| first.checked_add(count.checked_sub(1)?));
        if last.and_then(|last| self.shape().number(store, last)).is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // All duplicates before any IRTE: all or none.
        let duplicates = eventfds.iter().map(|eventfd| eventfd.try_clone()).collect::<io::Result<_>>()?;
        self.state().unit.set(store, first, duplicates);
        Ok(())
    }

    /// Masks and clears under the lock of [`Core::raise`]: when it returns nothing more is sent.
    pub(super) fn stop(&self, store: Store, first: u32, count: u32) -> io::Result<()> {
        let mut state = self.state();
        for index in first..first.saturating_add(count) {
            self.shape().number(store, index).ok_or(io::ErrorKind::InvalidInput)?;
            if let (Some(table), Store::MSIX, false) = (self.table(), store, state.is_trapped(store)) {
                table.mask(index)?;
            }
            state.unit.clear(store, index);
            self.forget(&mut state, store, index);
        }
        Ok(())
    }
}
