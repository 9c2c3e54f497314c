//! The emulated device behind the service's device trait.

use super::counts::SentSinceStart;
use super::model::DeviceModel;
use super::state::StoreOwner;
use pvir_abi::{DeviceFlags, Pair, Store};
use pvir_host::device::{Capabilities, Device, HostCounts, NotIsolated, StoreShape, TableWindow};
use pvir_host::emulation::{MessageStore, MsiForm, StoreLayout};
use pvir_host::eventfd::EventFd;
use pvir_host::pci::MsiShape;
use std::io;
use std::sync::Arc;

/// An emulated device, programmed by the guest.
pub(crate) struct EmulatedDevice {
    model: Arc<DeviceModel>,
    window: Box<dyn TableWindow>,
    sent: Arc<SentSinceStart>,
}

impl EmulatedDevice {
    /// Over `model`; the guest gets its table through `window`.
    #[must_use]
    pub(crate) fn new(model: Arc<DeviceModel>, window: Box<dyn TableWindow>) -> Self {
        let sent = Arc::new(SentSinceStart::new(Arc::clone(&model)));
        Self { model, window, sent }
    }

    /// The number of an interrupt of the device.
    fn number(&self, store: Store, index: u32) -> io::Result<u32> {
        if Capabilities::entries(&self.capabilities(), store).is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.model.layout().number(store, index).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

/// What the service emulates of a device of this layout.
pub(super) fn shape(layout: &StoreLayout) -> StoreShape {
    match layout.store() {
        MessageStore::Msix => StoreShape::Msix(layout.msix_entries()),
        MessageStore::Msi(MsiForm { wide, maskable }) => {
            let messages_log2 = layout.vectors().trailing_zeros().to_le_bytes()[0];
            StoreShape::Msi(MsiShape { wide, maskable, messages_log2 })
        }
    }
}

impl Device for EmulatedDevice {
    /// The duplicates are closed when an entry is stopped.
    fn releases_eventfds(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Capabilities {
        let layout = self.model.layout();
        let entries = Capabilities::default().with_flags(DeviceFlags::DYNAMIC | DeviceFlags::EMULATED);
        let entries = match self.model.table() {
            Some(_) => {
                entries.with_flags(entries.flags | DeviceFlags::DIRECT).with_msix(layout.msix_entries())
            }
            None => entries.with_msi(layout.vectors()),
        };
        if layout.ims() > 0 { entries.with_ims(layout.ims()) } else { entries }
    }

    fn name(&self) -> String {
        "emulated".into()
    }

    /// The VMM itself is the remapping unit, and every message passes it.
    fn isolated(&self) -> Result<(), NotIsolated> {
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(table) = self.model.table() {
            table.mask_all()?;
        }
        self.window.open()?;
        self.model.state().owner = StoreOwner::Guest;
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.model.state().owner = StoreOwner::Nobody;
        self.window.close()
    }

    /// Interrupts of the store then signal their eventfds whatever stands in their entries.
    fn trap(&mut self, store: Store) -> io::Result<()> {
        if store == Store::IMS {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.number(store, 0)?;
        self.model.set_owner(StoreOwner::Vmm(store));
        Ok(())
    }

    fn untrap(&mut self, store: Store) -> io::Result<()> {
        self.number(store, 0)?;
        self.model.set_owner(StoreOwner::Nobody);
        Ok(())
    }

    fn pending(&mut self, store: Store, index: u32) -> bool {
        self.model.is_pending(&self.model.state(), store, index)
    }

    fn shape(&self) -> StoreShape {
        shape(self.model.layout())
    }

    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        self.number(store, first)?;
        self.model.start(store, first, eventfds)?;
        self.sent.started(store, (first..).zip(eventfds).map(|(index, _)| index));
        Ok(())
    }

    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        self.number(store, first)?;
        self.sent.stopped(store, &(first..first.saturating_add(count)));
        self.model.stop(store, first, count)
    }

    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        self.number(store, index)?;
        self.model.state().unit.pair(store, index).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Only the MSI-X table is the host's to mask: the guest has IMS, and MSI is trapped.
    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool> {
        self.number(store, index)?;
        match self.model.table().filter(|_| store == Store::MSIX) {
            Some(table) => table.mask(index).map(|()| true),
            None => Ok(false),
        }
    }

    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        Some(Arc::clone(&self.sent) as Arc<dyn HostCounts>)
    }
}
