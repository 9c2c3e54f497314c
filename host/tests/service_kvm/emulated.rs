//! A device with an MSI-X table, made of what the library has for emulated devices.

use super::*;
use pvir_abi::DeviceFlags;
use pvir_host::device::{Capabilities, Device, NotIsolated};
use pvir_host::emulation::{SharedTable, SoftwareUnit, StoreLayout};
use pvir_host::eventfd::EventFd;
use std::sync::Mutex;

/// Raised by hand, and always the guest's to program. The service and the test share it.
#[derive(Clone)]
pub(crate) struct TableDevice(Arc<(SharedTable, Mutex<SoftwareUnit>)>);

impl TableDevice {
    pub(crate) fn new(vectors: u32) -> Self {
        let unit = SoftwareUnit::new(StoreLayout::msix(vectors).unwrap(), 0);
        Self(Arc::new((SharedTable::new(vectors).unwrap(), Mutex::new(unit))))
    }

    pub(crate) fn table(&self) -> &SharedTable {
        &self.0.0
    }

    /// Sends the message that stands in an entry. A masked entry sends nothing.
    pub(crate) fn raise(&self, index: u32) {
        let entry = self.table().entry(index).unwrap();
        if !entry.masked {
            if let Ok(eventfd) = self.0.1.lock().unwrap().remap(entry.message) {
                eventfd.write(1).unwrap();
            }
        }
    }
}

impl Device for TableDevice {
    fn releases_eventfds(&self) -> bool {
        true
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
            .with_msix(self.table().vectors())
            .with_flags(DeviceFlags::DIRECT | DeviceFlags::DYNAMIC | DeviceFlags::EMULATED)
    }
    fn name(&self) -> String {
        "table".into()
    }
    fn isolated(&self) -> Result<(), NotIsolated> {
        Ok(())
    }
    fn open(&mut self) -> io::Result<()> {
        self.table().mask_all()
    }
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn trap(&mut self, _: Store) -> io::Result<()> {
        Ok(())
    }
    fn untrap(&mut self, _: Store) -> io::Result<()> {
        Ok(())
    }
    fn start(&mut self, store: Store, first: u32, eventfds: &[&EventFd]) -> io::Result<()> {
        let eventfds = eventfds.iter().map(|e| e.try_clone()).collect::<io::Result<_>>()?;
        self.0.1.lock().unwrap().set(store, first, eventfds);
        Ok(())
    }
    fn stop(&mut self, store: Store, first: u32, count: u32) -> io::Result<()> {
        for index in first..first + count {
            self.table().mask(index)?;
            self.0.1.lock().unwrap().clear(store, index);
        }
        Ok(())
    }
    fn pair(&mut self, store: Store, index: u32) -> io::Result<Pair> {
        self.0.1.lock().unwrap().pair(store, index).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn mask(&mut self, _: Store, index: u32) -> io::Result<bool> {
        self.table().mask(index).map(|()| true)
    }
}
