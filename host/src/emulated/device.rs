//! The emulated device behind the service's device trait.

use super::core::Core;
use super::counts::SentSinceStart;
use super::shape::{MessageStore, MsiForm};
use super::state::Mode;
use crate::device::{Capabilities, Device, HostCounts, NotIsolated, StoreShape};
use crate::pci::MsiShape;

use crate::vfio::TableWindow;
use pvir_abi::{DeviceFlags, Pair, Store, Stores};
use std::io;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// An emulated device, programmed by the guest.
pub struct EmulatedDevice {
    core: Arc<Core>,
    window: Box<dyn TableWindow>,
    sent: Arc<SentSinceStart>,
}

impl EmulatedDevice {
    /// Over `core`; the guest gets its table through `window`.
    #[must_use]
    pub fn new(core: Arc<Core>, window: Box<dyn TableWindow>) -> Self {
        let sent = Arc::new(SentSinceStart::new(Arc::clone(&core)));
        Self { core, window, sent }
    }

    /// The number of an interrupt of the device.
    fn number(&self, store: Store, index: u32) -> io::Result<u32> {
        if Capabilities::entries(&self.capabilities(), store).is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.core.shape().number(store, index).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Device for EmulatedDevice {
    fn capabilities(&self) -> Capabilities {
        let shape = self.core.shape();
        let (pci_store, direct) = match self.core.table() {
            Some(_) => (Stores::MSIX, DeviceFlags::DIRECT),
            None => (Stores::MSI, DeviceFlags::empty()),
        };
        let ims = if shape.ims() > 0 { Stores::IMS } else { Stores::empty() };
        Capabilities {
            stores: pci_store | ims,
            flags: direct | DeviceFlags::DYNAMIC | DeviceFlags::EMULATED,
            msix_entries: shape.msix_entries(),
            msi_messages: shape.vectors() - shape.msix_entries(),
            ims_entries: shape.ims(),
        }
    }

    fn name(&self) -> String {
        "emulated".into()
    }

    /// The VMM itself is the remapping unit, and every message passes it.
    fn isolated(&self) -> Result<(), NotIsolated> {
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(table) = self.core.table() {
            table.mask_all()?;
        }
        self.window.open()?;
        self.core.state().mode = Mode::Open;
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.core.state().mode = Mode::Closed;
        self.window.close()
    }

    /// Interrupts of the store then signal their eventfds whatever stands in their entries.
    fn trap(&mut self, store: Store) -> io::Result<()> {
        if store == Store::IMS {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.number(store, 0)?;
        self.core.set_mode(Mode::Trapped(store));
        Ok(())
    }

    fn untrap(&mut self, store: Store) -> io::Result<()> {
        self.number(store, 0)?;
        self.core.set_mode(Mode::Closed);
        Ok(())
    }

    fn pending(&mut self, store: Store, index: u32) -> bool {
        self.core.is_pending(&self.core.state(), store, index)
    }

    fn shape(&self) -> StoreShape {
        let shape = self.core.shape();
        match shape.store() {
            MessageStore::Msix => StoreShape::Msix(shape.msix_entries()),
            MessageStore::Msi(MsiForm { wide, maskable }) => {
                let messages_log2 = shape.vectors().trailing_zeros().to_le_bytes()[0];
                StoreShape::Msi(MsiShape { wide, maskable, messages_log2 })
            }
        }
    }

    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        self.number(store, first)?;
        self.core.start(store, first, eventfds)?;
        self.sent.started(store, (first..).zip(eventfds).map(|(index, _)| index));
        Ok(())
    }

    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        self.number(store, first)?;
        self.sent.stopped(store, &(first..first.saturating_add(count)));
        self.core.stop(store, first, count)
    }

    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        self.number(store, index)?;
        self.core.state().unit.pair(store, index).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Only the MSI-X table is the host's to mask: the guest has IMS, and MSI is trapped.
    fn mask(&mut self, store: Store, index: u32) -> io::Result<bool> {
        self.number(store, index)?;
        match self.core.table().filter(|_| store == Store::MSIX) {
            Some(table) => table.mask(index).map(|()| true),
            None => Ok(false),
        }
    }

    fn host_counts(&self) -> Option<Arc<dyn HostCounts>> {
        Some(Arc::clone(&self.sent) as Arc<dyn HostCounts>)
    }
}
